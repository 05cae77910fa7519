"""Serve what `electra export --format onnx` wrote, without torch: pip install onnxruntime tokenizers numpy

    echo "The chef cooked the meal." | python examples/serve_onnx.py FOLDER [model_int8.onnx]

Sentences in, one a line; JSON out, one line for each: the label and its probability of a model that was fine-tuned for
classes, the number of one that was fine-tuned for a score, else the mean of the states of an encoder.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, graph = Path(sys.argv[1]), (*sys.argv[2:], "model.onnx")[0]
config, settings = (json.loads((folder / name).read_text()) for name in ("config.json", "tokenizer_config.json"))
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.encode_special_tokens = settings["split_special_tokens"]  # whether "[SEP]" in a text is text
tokenizer.enable_truncation(settings["model_max_length"])
tokenizer.enable_padding(pad_id=config["pad_token_id"] or 0)
session = onnxruntime.InferenceSession(folder / graph)
names = [each.name for each in session.get_inputs()]
sentences = sys.stdin.read().splitlines()
for start in range(0, len(sentences), 32):
    texts = tokenizer.encode_batch(sentences[start : start + 32])
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    inputs = {name: np.array([getattr(text, columns[name]) for text in texts], dtype=np.int64) for name in names}
    (output,) = session.run(None, inputs)
    if output.ndim == 3:  # states: [texts, tokens, width]
        mask = inputs["attention_mask"][:, :, None]
        print(*map(json.dumps, ((output * mask).sum(1) / mask.sum(1)).tolist()), sep="\n")
    elif output.shape[1] == 1:  # scores
        print(*output[:, 0].tolist(), sep="\n")
    else:  # logits: [texts, classes]
        odds = np.exp(output - output.max(1, keepdims=True))
        for row in odds / odds.sum(1, keepdims=True):
            print(json.dumps({"label": config["id2label"][str(row.argmax())], "score": float(row.max())}))
