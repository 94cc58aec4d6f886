# Sourced by the stories beside it: a newcomer's machine with an empty home, and how to say what must hold.
# A story sets $title before; it may say more of itself by a function `state`.
set -euo pipefail

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${TRIMTAB_STORY_INSTALLED:-}" ]; then
    cargo install --path "$examples/../crates/trimtab"
fi

work=$(mktemp -d)
export HOME="$work/home"
mkdir "$HOME"
unset XDG_DATA_HOME TRIMTAB_DATA TRIMTAB_TOKEN
unset GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
cd "$work"

step() { printf '\n\033[1m▸ %s\033[0m\n' "$*"; }
state() { trimtab status || true; trimtab history || true; }
fail() {
    printf '\n%s FAILED: %s\n' "$title" "$*" >&2
    { state || true; tail -n 60 "$work"/*.log; } >&2 2>&1
    exit 1
}
# eventually SECONDS COMMAND…: until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "did not become true: $*"
        sleep 0.05
    done
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
expect() { grep -qF -- "$2" <<<"$1" || fail "expected «$2» in: $1"; }

# answers COMMAND…: an instance does, for this command line.
answers() { local code=0; "$@" status --project none >/dev/null 2>&1 || code=$?; [ $code -eq 3 ]; }
instances=()
# start NAME COMMAND…: `COMMAND… up`, until it answers. It writes to NAME.log; its process is $pid.
start() {
    local name=$1; shift
    "$@" up --listen "${listen:-127.0.0.1:0}" ${up_options:-} >>"$work/$name.log" 2>&1 &
    pid=$!
    instances+=("$pid")
    eventually 30 answers "$@"
}
cleanup() {
    trimtab down >/dev/null 2>&1 || true
    also_down || true
    for one in "${instances[@]}"; do kill "$one" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
also_down() { :; }
trap cleanup EXIT

# The pages of examples/hello, and repositories.
page() { curl -sS --max-time 10 "$(trimtab url hello --env "$1")"; }
shows() { [ "$(page "$1")" = "Hello from Trimtab, version $2." ]; }
identity() { git config user.name "${1:-Ada}" && git config user.email "$(tr '[:upper:]' '[:lower:]' <<<"${1:-Ada}")@example.com"; }
clone_config() {
    git clone -q "$(trimtab url --config)" "$work/config" -c "credential.helper=!trimtab credential"
    (cd "$work/config" && identity Ada)
}
