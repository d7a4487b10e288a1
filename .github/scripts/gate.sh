#!/usr/bin/env bash
# The gate in CI: what action.yml runs, and what runs anywhere else with the same variables.
#
#   gate.sh measure   compares two commits, writes step summary, outputs and the comment's text, and
#                     exits with the gate's code: 0 no regression, 1 regression, 2 undecided (strict),
#                     3 no verdict
#   gate.sh comment   posts what measure left in $GATE_FOLDER as the pull request's one comment
#
# Two jobs, because the first runs the pull request's code, which owns the machine from then on: the
# second has a token, runs elsewhere, and takes the first one's folder as data.
# Everything from outside comes as a variable and is used as data; no text becomes a part of a script.
set -euo pipefail

BROKEN=3
MARK='<!-- pytest-llmperf verdict -->'
# Of all comments that begin with the mark, those of this workflow: it never writes into a person's.
OURS=".[] | select(.user.login == \"github-actions[bot]\") | select(.body | startswith(\"$MARK\")) | .id"
SUMMARY_LIMIT=1000000 # bytes; GitHub takes 1 MiB
COMMENT_LIMIT=60000   # GitHub takes 65536 characters

# What the runner reads after this step. Measured code has none of these, and nothing of it stays there.
RUNNER_FILES=(GITHUB_ENV GITHUB_PATH GITHUB_OUTPUT GITHUB_STATE GITHUB_STEP_SUMMARY)

main() {
  # A failure of this script is not 1, which means a regression.
  trap 'unplanned $?' EXIT
  case ${1:-} in
    measure) measure ;;
    comment) comment ;;
    *) echo "usage: gate.sh measure|comment" >&2 && exit "$BROKEN" ;;
  esac
}

measure() {
  local folder log tee_pid code=0 verdict page before
  for name in GITHUB_OUTPUT GITHUB_STEP_SUMMARY; do
    if [ -n "${!name:-}" ] && ! { : >>"${!name}"; } 2>/dev/null; then
      broken "$name (${!name}) cannot be written"
    fi
  done
  folder=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/llmperf-verdict-XXXXXX" 2>/dev/null) ||
    broken "RUNNER_TEMP or TMPDIR (${RUNNER_TEMP:-${TMPDIR:-/tmp}}) cannot be written"
  # Now, for a job that is cancelled.
  output folder "$folder"
  output artifact "$(basename "$folder")"
  declare -A before
  keep_runner_files
  log=$folder/output.txt
  exec 3> >(tee -i "$log")
  tee_pid=$!
  compare "$folder" >&3 2>&1 || code=$?
  exec 3>&-
  wait "$tee_pid"
  restore_runner_files

  page=$folder/verdict.md
  if [ -f "$page" ] && verdict=$(summary "$folder/verdict.json"); then
    fitting "$page" "$COMMENT_LIMIT" >"$folder/comment.md"
  else
    # An interpreter without the plugin ends with 1, too: without a page there is no verdict.
    page=$folder/comment.md
    verdict="no verdict: the comparison broke"
    broken_page "$log" "$code" >"$page"
    code=$BROKEN
  fi
  fitting "$page" "$SUMMARY_LIMIT" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
  footer >>"$folder/comment.md"
  output verdict "$verdict"
  output exit-code "$code"
  end "$code"
}

# Ends with a code that is meant.
end() {
  trap - EXIT
  exit "$1"
}

broken() {
  echo "gate.sh: no verdict: $1" >&2
  end "$BROKEN"
}

unplanned() {
  [ "$1" -eq 0 ] && exit
  echo "gate.sh: no verdict: this script failed (its last message says why)" >&2
  exit "$BROKEN"
}

# Keeps what is in the runner's files, in the caller's array "before".
keep_runner_files() {
  local name
  for name in "${RUNNER_FILES[@]}"; do
    [ ! -f "${!name:-}" ] || before[$name]=$(cat "${!name}")
  done
}

# Takes out of the runner's files what measured code has written, which finds them without variables,
# too: a variable or a program of its own would be part of every later step of the job.
restore_runner_files() {
  local name
  for name in "${!before[@]}"; do
    if [ "$(cat "${!name}")" != "${before[$name]}" ]; then
      warning "measured code wrote to $name, which changes later steps: taken back"
      printf '%s' "${before[$name]}${before[$name]:+$'\n'}" >"${!name}"
    fi
  done
}

# Runs the comparison; every failure here is a line of its output and a code. (No errexit inside: the
# caller takes the code.)
compare() {
  local folder=$1 pid code options words=() without=()
  arguments >"$folder/arguments" || return "$BROKEN"
  mapfile -d '' -t words <"$folder/arguments"
  rm "$folder/arguments"
  options=(--base="$(base)" --head="${GATE_HEAD:-HEAD}" --out="$folder")
  [ -z "${GATE_PAIRS:-}" ] || options+=(--pairs="$GATE_PAIRS")
  [ -z "${GATE_MORE_PAIRS:-}" ] || options+=(--more-pairs="$GATE_MORE_PAIRS")
  [ -z "${GATE_SETUP:-}" ] || options+=(--setup="$GATE_SETUP")
  case ${GATE_STRICT:-false} in
    true) options+=(--strict) ;;
    false) ;;
    *) echo "strict has to be true or false, not '$GATE_STRICT'" && return "$BROKEN" ;;
  esac
  # In the background, so that a cancelled job can pass its signal on and no engine is left on the
  # GPU; as a job, because bash has other background processes ignore SIGINT, and pytest would.
  set -m
  # What is for this script, for later steps or for GitHub is not for measured code.
  mapfile -t without < <(compgen -e | grep -xE "$(private)" | sed 's/^/--unset=/')
  # -P: a module in the caller's folder never hides one of the standard library.
  env "${without[@]}" "${GATE_PYTHON:-python}" -P -m pytest_llmperf.cli ab "${options[@]}" -- "${words[@]}" 3>&- &
  pid=$!
  set +m
  # shellcheck disable=SC2064 # This process, now.
  trap "kill -TERM $pid" INT TERM
  while true; do
    code=0
    wait "$pid" || code=$?
    kill -0 "$pid" 2>/dev/null || break # Else a signal has ended the wait, not the comparison.
  done
  trap - INT TERM
  return "$code"
}

# The names of variables that measured code does not have, as a pattern.
private() {
  local IFS='|'
  echo "${RUNNER_FILES[*]}|GITHUB_TOKEN|GH_TOKEN|ACTIONS_.*|GATE_.*"
}

# The pytest arguments, split as a shell would and nothing else: no expansion, no command.
arguments() {
  "${GATE_PYTHON:-python}" -P -c '
import os, shlex, sys
try:
    words = shlex.split(os.environ.get("GATE_ARGS", ""))
except ValueError as error:
    sys.exit(f"args: {error}")
sys.stdout.write("".join(word + "\0" for word in words))'
}

# The baseline: what was asked for, else where the pull request left its base, else the commit before.
base() {
  local head=${GATE_HEAD:-HEAD}
  if [ -n "${GATE_BASE:-}" ]; then
    echo "$GATE_BASE"
  elif [ -n "${GATE_PR_BASE:-}" ]; then
    # The base branch may have gone on since; what it gained is not this pull request's doing.
    git merge-base -- "$GATE_PR_BASE" "$head" 2>/dev/null || echo "$GATE_PR_BASE"
  else
    echo "HEAD~1"
  fi
}

# The verdict's one line.
summary() {
  "${GATE_PYTHON:-python}" -P -c '
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    print(" ".join(json.load(file)["summary"].split()))' "$1"
}

# What is posted when there is no verdict. The output is indented: no text in it can end that block.
broken_page() {
  local log=$1 code=$2
  echo "$MARK"
  echo "### LLM performance: the comparison broke, nothing was judged"
  echo
  echo "\`pytest-llmperf ab\` ended with exit code $code and no verdict. The last lines of its output:"
  echo
  tail -n 20 "$log" | tr -d '\000-\010\013-\037\177' | cut -c -500 | sed 's/^/    /'
  echo
  if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = true ]; then
    echo "This is a shallow clone, which may lack the baseline: check out with \`fetch-depth: 0\`."
    echo
  fi
}

footer() {
  if [ -n "${GITHUB_RUN_ID:-}" ]; then
    printf '\n[The run, its log and every measurement](%s/%s/actions/runs/%s)\n' \
      "${GITHUB_SERVER_URL:-https://github.com}" "${GITHUB_REPOSITORY:-}" "$GITHUB_RUN_ID"
  fi
}

# A page, cut after a whole line when it is longer than GitHub takes.
fitting() {
  LC_ALL=C awk -v limit="$2" '
    (size += length($0) + 1) > limit { cut = 1; exit }
    { print }
    END { if (cut) print "\n</details>\n\nCut here; the whole page is verdict.md in the artifact." }
  ' "$1"
}

# A run without a pull request posts nothing. A comment that cannot be posted is a warning: the gate's
# verdict is its exit code. The page comes from the machine that ran the pull request's code: whatever
# stands in it, it is text for this one comment.
comment() {
  local page=${GATE_FOLDER:-}/comment.md comments ids target body method=POST
  [ -n "${GATE_PR:-}" ] || { echo "no comment: not a pull request" && return; }
  if [ ! -f "$page" ] || [ -L "$page" ]; then
    warning "no comment: nothing was measured"
    return
  fi
  command -v gh >/dev/null || { warning "no comment: gh is not installed on this runner" && return; }
  comments=repos/$GITHUB_REPOSITORY/issues/$GATE_PR/comments
  target=$comments
  if ! ids=$(gh api --paginate "$comments?per_page=100" --jq "$OURS"); then
    warning "no comment: the pull request's comments cannot be read (pull-requests: write?)"
    return
  fi
  if [ -n "$ids" ]; then
    method=PATCH
    target=repos/$GITHUB_REPOSITORY/issues/comments/${ids%%$'\n'*}
  fi
  body=$(mktemp)
  posted "$page" >"$body"
  gh api --silent --method "$method" "$target" -F "body=@$body" ||
    warning "no comment: it cannot be written (pull-requests: write? a fork's token cannot)"
  rm "$body"
}

# What is posted of a page: as much as GitHub takes, with the mark, by which the next one is found.
posted() {
  [ "$(head -n 1 "$1")" = "$MARK" ] || echo "$MARK"
  if [ "$(wc -c <"$1")" -le "$((COMMENT_LIMIT + 1000))" ]; then
    cat "$1"
  else
    fitting "$1" "$COMMENT_LIMIT"
  fi
}

output() {
  printf '%s=%s\n' "$1" "$2" >>"${GITHUB_OUTPUT:-/dev/null}"
}

warning() {
  echo "::warning::$1"
}

main "$@"
