#!/usr/bin/env bash
# A worker for offload in bash and curl: leases tasks, keeps them by heartbeats, and gives results back.
# OFFLOAD_URL says where the server is, OFFLOAD_API_KEY who asks, if it has keys. SIGTERM: finish what runs, take no more.
set -u -m # -m: what runs in the background has a process group of its own, and can be ended whole
base=${OFFLOAD_URL:-http://127.0.0.1:8000}
folder=$(mktemp -d)
trap '[ "$BASHPID" = $$ ] && rm -rf "$folder"' EXIT # a child that is killed while it starts would run this too
# in a file, because everybody on the machine can read what is on a command line
(umask 077 && printf '%s' "${OFFLOAD_API_KEY:+Authorization: Bearer $OFFLOAD_API_KEY}" > "$folder/key")

# ask METHOD PATH [curl options]: print the status, 503 when there is no answer; the body goes to $folder/answer
ask() {
  local method=$1 path=$2 status
  shift 2
  status=$(curl --silent --max-time "${max_time:-120}" --header "@$folder/key" --request "$method" \
    --output "${answer:-$folder/answer}" --write-out '%{http_code}' "$@" "$base$path")
  if [ "${status:-000}" = 000 ]; then echo 503; else echo "$status"; fi
}

# patiently ...: as ask, but again while the server cannot be reached or is too busy; all that is said may be repeated
patiently() {
  local tries status
  for tries in 0 1 2 3 4 5 6 7; do
    status=$(ask "$@")
    case $status in 429 | 5??) pause "$tries" ;; *) break ;; esac
  done
  echo "$status"
}

# at random, and longer each time, so that many workers do not come back at once
pause() { sleep "$(awk -v n="$1" -v r="$RANDOM" 'BEGIN { m = 0.2 * 2 ^ n; print 0.05 + (m > 10 ? 10 : m) * r / 32768 }')"; }

# text FIELD: a text of the answer. What the server makes holds no quotes, and in what clients wrote they are escaped.
text() { [[ $lent =~ \"$1\":\"([^\"]*)\" ]] && printf '%s' "${BASH_REMATCH[1]}"; }
number() { [[ $lent =~ \"$1\":([0-9.]+) ]] && printf '%s' "${BASH_REMATCH[1]}"; }

json=(--header 'Content-Type: application/json' --data-binary)

# work: run one task in a process of its own; its exit status says how it ended
work() {
  local status
  [[ $lent =~ \"download_from\":\{\"text\":\"([^\"]*)\" ]]
  status=$(answer="$folder/input" patiently GET "${BASH_REMATCH[1]}")
  [ "$status" = 409 ] && return 3
  [ "$status" = 200 ] || { echo "the input cannot be read: $status" > "$folder/error"; return 1; }
  iconv -f utf-8 -t utf-8 "$folder/input" > "$folder/checked" 2> /dev/null || { echo "not a text" > "$folder/error"; return 2; }
  if [ "$(text job)" = shout ]; then
    LC_ALL=C.UTF-8 sed 's/.*/\U&/' "$folder/input" > "$folder/result"
    status=$(patiently PUT "$(text upload_to)" --data-binary "@$folder/result" --header 'Content-Type: text/plain' \
      --header 'Content-Disposition: attachment; filename="shouted.txt"')
    # only what was taken may be said to be done
    [ "$status" = 200 ] && status=$(patiently POST "/v1/leases/$lease/done")
  else
    read -r lines words bytes < <(wc < "$folder/input")
    log "counting $bytes bytes"
    sleep "$(number seconds || echo 0)"
    status=$(patiently POST "/v1/leases/$lease/done" "${json[@]}" "{\"bytes\":$bytes,\"lines\":$lines,\"words\":$words}")
  fi
  case $status in
    200 | 202) return 0 ;;
    409) return 3 ;;
    *) echo "the result was not taken: $status" > "$folder/error"; return 2 ;;
  esac
}

# log LINE: add a line to the task's log; the work goes on if that fails
log() {
  printf '%s\n' "$1" | answer="$folder/said" max_time=30 ask POST "/v1/leases/$lease/log" \
    --header 'Content-Type: text/plain' --data-binary @- > /dev/null
}

# keep: heartbeats while the work goes on; says how it ended. Waiting is for both, so that neither starves the other.
keep() {
  local status worker sleeper canceled=no
  rm -f "$folder/ended"
  { work; echo $? > "$folder/ended"; } & worker=$!
  while [ ! -s "$folder/ended" ] && kill -0 "$worker" 2> /dev/null; do
    sleep "$(number heartbeat_seconds)" & sleeper=$!
    wait -n "$worker" "$sleeper" 2> /dev/null # a signal ends this too; then the loop looks again
    if kill "$sleeper" 2> /dev/null; then
      wait "$sleeper" 2> /dev/null
      continue
    fi
    status=$(answer="$folder/beat" max_time=30 ask POST "/v1/leases/$lease/heartbeat")
    [ "$status" = 200 ] && grep -qs '"canceled":true' "$folder/beat" && canceled=yes
    if [ "$canceled" = yes ] || [ "$status" = 404 ] || [ "$status" = 409 ]; then
      kill -- "-$worker" 2> /dev/null
      wait "$worker" 2> /dev/null
      if [ "$canceled" = no ]; then say lost; return; fi
      patiently POST "/v1/leases/$lease/failed" "${json[@]}" '{"error":"canceled"}' > /dev/null
      say canceled
      return
    fi
  done
  case $(cat "$folder/ended" 2> /dev/null) in
    0) say 'done' ;;
    3) say lost ;;
    2) fail false ;;
    1) fail true ;;
    *) echo "the work was ended from outside" > "$folder/error"; fail true ;;
  esac
}

fail() {
  patiently POST "/v1/leases/$lease/failed" "${json[@]}" "{\"error\":\"$(< "$folder/error")\",\"retry\":$1}" > /dev/null
  say failed
}

say() { echo "$1 $(text task) $(number attempt)"; }

draining=no waiting=
trap 'draining=yes; [ -n "$waiting" ] && kill -- "-$waiting" 2> /dev/null' TERM
tries=0
echo ready
while [ "$draining" = no ]; do
  # in the background, for a trap waits until a command in the foreground has ended
  max_time=60 ask POST /v1/leases "${json[@]}" '{"queues":["text"],"max":1,"wait":20}' > "$folder/status" & waiting=$!
  until wait "$waiting" 2> /dev/null || ! kill -0 "$waiting" 2> /dev/null; do :; done
  waiting=
  status=$(cat "$folder/status")
  case $status in
    200)
      lent=$(< "$folder/answer")
      lease=$(text lease)
      say took
      keep
      tries=0
      ;;
    204) tries=0 ;;
    *)
      [ "$draining" = yes ] && break
      echo "no lease: $status $(head -c 500 "$folder/answer" 2> /dev/null)" >&2
      case $status in 400 | 401 | 403 | 404) exit 1 ;; esac # asking again will not help
      pause "$tries"
      tries=$((tries < 10 ? tries + 1 : 10))
      ;;
  esac
done
echo drained
