"""Serve what `electra export --format onnx` wrote, without torch: pip install onnxruntime tokenizers numpy

    echo "The chef cooked the meal." | python examples/serve_onnx.py FOLDER [model_int8.onnx]

Sentences in, one a line; JSON out, one line for each. Of a model that was fine-tuned: the label and its probability for
classes, the labels that are likelier than not with theirs for several, the number for a score. Of an encoder: the mean
of its states.
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
several, kind = config.get("problem_type") == "multi_label_classification", config["architectures"][0]
if session.get_outputs()[0].name != "last_hidden_state" and not kind.endswith("ForSequenceClassification"):
    sys.exit(f"{folder}: {kind} is not served here: it says something of tokens, not of sentences")
sentences = [line.rstrip("\r\n") for line in sys.stdin]
for start in range(0, len(sentences), 32):
    texts = tokenizer.encode_batch(sentences[start : start + 32])
    columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    inputs = {name: np.array([getattr(text, columns[name]) for text in texts], dtype=np.int64) for name in names}
    (output,) = session.run(None, inputs)
    if output.ndim == 3:  # states: [texts, tokens, width]
        mask = inputs["attention_mask"][:, :, None]
        print(*map(json.dumps, ((output * mask).sum(1) / mask.sum(1)).tolist()), sep="\n")
    elif several:
        for row in 1 / (1 + np.exp(-output)):
            chosen = [{"label": config["id2label"][str(k)], "score": float(row[k])} for k in np.flatnonzero(row > 0.5)]
            print(json.dumps(chosen))
    elif output.shape[1] == 1:  # scores
        print(*output[:, 0].tolist(), sep="\n")
    else:  # logits: [texts, classes]
        odds = np.exp(output - output.max(1, keepdims=True))
        for row in odds / odds.sum(1, keepdims=True):
            print(json.dumps({"label": config["id2label"][str(row.argmax())], "score": float(row.max())}))
