#!/bin/bash
# From text files to an encoder that Hugging Face loads.
#
#     bash examples/own_corpus.sh "corpus/*.txt" work/ --preset modern-small --hours 8
#
# What stands after the two is for `electra pretrain`; on a CPU take modern-tiny, whose steps are smaller. Killed, the
# same command goes on where it stopped. The vocabulary is in lower case and without accents: for a language that needs
# its marks, add `--strip-accents no` below.
set -euo pipefail
text=$1 work=$2
shift 2

[ -d "$work/tok" ] || electra tokenizer --data "$text" --vocab-size 30522 --out "$work/tok"
electra prepare --data "$text" --tokenizer "$work/tok" --out "$work/data"
electra data "$work/data" # what was understood: look before you train
electra pretrain --data "$work/data" --out "$work/run" "$@"
electra evaluate "$work/run" # on the held-out text
[ -d "$work/hub" ] || electra export "$work/run" --as encoder --out "$work/hub"
