#!/usr/bin/env bash
# What a GPU is asked, in parts of at most 8 minutes: the tests that need one, how fast it draws and
# trains, and a training. benchmarks/README.md says what each part needs and gives.
set -euo pipefail

usage() {
    echo "usage: benchmarks/gpu.sh pack SOURCE DATA | tests | speed | train DATA" >&2
    exit 2
}

part_bytes=14000000 # a part of data or results stays under 15 MB
python=$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
out=${OUT:-runs/gpu}
minutes=${MINUTES:-4}
batch=${BATCH:-16}

parts() { # parts FOLDER PREFIX: the folder as PREFIX.tar.00, .01 and so on
    tar -C "$1" -cf - . | split -b "$part_bytes" -d - "$2.tar."
}

whole() { # whole PREFIX FOLDER: the folder that `parts` cut
    mkdir -p "$2"
    cat "$1".tar.[0-9]* | tar -C "$2" -xf -
}

within() { # within SECONDS COMMAND...: that, but what takes longer is ended and said
    timeout "$1" "${@:2}" || echo "ended with $?: ${*:2}"
}

run_tests() {
    timeout 460 "$python" -m pytest -q -p no:cacheprovider -m gpu tests 2>&1 | tee "$out/tests.txt"
}

run_speed() {
    measure() { within "$1" "$python" -m "${@:2}" 2>&1 | tee -a "$out/speed.txt"; }
    : >"$out/speed.txt"
    # SD 2.1's real size, random weights, 512 px. Time and memory of the guidances, then by batch.
    measure 120 benchmarks.sampling --model sd21 --steps 20 --rounds 3 --format weights --cheaper \
        --batches 4,8
    measure 45 benchmarks.sampling --model sd21 --steps 20 --rounds 3 --format autocast \
        --no-naive --no-memory
    measure 95 benchmarks.sampling --model sd21 --steps 20 --rounds 3 --format weights --compile \
        --no-naive --no-memory
    # Steps of finetuning: with L_attn, then by checkpointing, by LoRA, and compiled.
    measure 95 benchmarks.finetuning --model sd21 --rounds 5 --half --kinds 1,4,5
    measure 95 benchmarks.finetuning --model sd21 --rounds 5 --half --kinds 1,7
}

run_train() {
    local recipe=$out/recipe.yaml run=$out/run
    whole "$1/source" "$out/source"
    recipe_of() { # recipe_of STEPS: the bundled model, on from its weights
        cat >"$recipe" <<RECIPE
kind: finetune
source: $out/source
model: mini
build:
  autoencoder: {encoder_blocks: [0, 1, 2, 4], decoder_blocks: [4, 3, 1, 0], steps: 0}
  unet_channels: [64, 128, 192]
  head_channels: 64
  prediction_type: v_prediction
image_size: 256
steps: $1
batch_size: $batch
learning_rate: 0.0001
schedule: constant
leak_weight: 0.1
caption_probability: 0.9
orientations: dihedral
ema_decay: 0.999
checkpoint_every: 50
seed: 47
RECIPE
    }
    recipe_of 1000000
    # A constant rate asks for no number of steps: the training ends when its time does.
    timeout --signal INT --kill-after 20 $((minutes * 60)) \
        "$python" -m didgen.cli finetune "$recipe" --out "$run" || [ $? -eq 124 ]
    local newest
    newest=$(find "$run/checkpoints/unet" -maxdepth 1 -name 'step-*' | sort | tail -1)
    [ -n "$newest" ] || { echo "no checkpoint in $minutes minutes" >&2; exit 1; }
    recipe_of "$((10#${newest##*-}))"
    "$python" -m didgen.cli finetune "$recipe" --out "$run"
    parts "$run/model" "$out/model"
    # What goes back is small: the model in parts, and not what it was trained from.
    rm -rf "$run" "$out/source"
    echo "trained ${newest##*-} steps in $minutes minutes" | tee "$out/train.txt"
}

[ $# -ge 1 ] || usage
case $1 in
    pack)
        [ $# -eq 3 ] || usage
        mkdir -p "$3"
        parts "$2" "$3/source"
        ;;
    tests | speed)
        [ $# -eq 1 ] || usage
        mkdir -p "$out"
        "run_$1"
        ;;
    train)
        [ $# -eq 2 ] || usage
        mkdir -p "$out"
        run_train "$2"
        ;;
    *) usage ;;
esac
