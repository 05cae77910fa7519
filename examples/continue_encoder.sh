#!/bin/bash
# A published encoder, trained on with text of your own.
#
#     bash examples/continue_encoder.sh ModernBERT-base/ "corpus/*.txt" work/ --hours 4 --preset modern-base \
#         --optimizer.learning-rate 1e-3 --optimizer.rest.learning-rate 1e-4
#
# The first is a folder as Hugging Face has it: config.json, model.safetensors, tokenizer.json. What stands after the
# three is for `electra pretrain`: `--objective.kind electra` for a detector, say.
set -euo pipefail
encoder=$1 text=$2 work=$3
shift 3

electra prepare --data "$text" --tokenizer "$encoder" --out "$work/data"
electra pretrain --init "$encoder" --objective.kind mlm --data "$work/data" --out "$work/run" "$@"
electra evaluate "$work/run"
[ -d "$work/hub" ] || electra export "$work/run" --as encoder --out "$work/hub"
