# Sourced on a machine without a network, in the checkout's root, after `make unpack` (docs/gpu.md).
: "${HOME_FOLDER:?set it to the folder that comes back}"
unset "${!PIP_@}"  # they would win over .venv/pip.conf
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD/src" PREFTUNE_PLAIN_PROGRESS=1 HF_HUB_OFFLINE=1
CONFIG=config/small-gpu.yaml
RESULTS=results/small-gpu

# stage SECONDS [KEY=VALUE]: run the workflow for so long at most, then take its small results along. Without its audit, which fails
# where packages have other versions than the lock.
stage() {
    timeout --foreground -s TERM -k 45 "$1" python -m preftune results --cores "$(nproc)" --configfile "$CONFIG" \
        --omit-from audit_results ${2:+--config "$2"}
    local code=$?
    case $code in
        0) echo finished ;;
        75 | 124) echo "stopped in time: call it again" ;;
        *) echo "failed, exit code $code: see above" ;;
    esac
    python -m preftune pack --results "$RESULTS" && take results 1 4
}

# take results|rest FIRST LAST: put these pieces of the packed results, and their manifest, into HOME_FOLDER.
take() {
    local folder=scratch/pack/${RESULTS##*/}-$1 number
    mkdir -p "$HOME_FOLDER/$1"
    cp "$folder/manifest.json" "$HOME_FOLDER/$1/"
    for number in $(seq -f %02g "$2" "$3"); do
        if [ -f "$folder/part-$number.tar" ]; then cp "$folder/part-$number.tar" "$HOME_FOLDER/$1/"; fi
    done
}
