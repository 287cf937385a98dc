#!/bin/sh
# Stands in for `guild` in the tests of this crate. FAKE says how it behaves; HOME_DIR is the value of --home.
command=$1
while [ $# -gt 1 ]; do
    [ "$1" = --home ] && HOME_DIR=$2
    [ "$1" = --org ] && ORG=$2
    shift
done
ready() { printf '{"api":"http://127.0.0.1:1","peer_id":"%s","addresses":[]}\n' "$$"; }
forever() { while :; do sleep 0.05; done; }

if [ "$command" = init ]; then
    [ "$ORG" = refused ] && { echo "error: the name is taken" >&2; exit 1; }
    mkdir -p "$HOME_DIR"
    exit
fi
echo "up with GUILD_HOME=$GUILD_HOME" >&2
case $FAKE in
obedient) trap 'exit 0' TERM; ready; forever ;;
parent) sleep 1000 & echo $! >"$HOME_DIR/worker"; ready; forever ;;
broken) echo "error: no store" >&2; exit 7 ;;
chatty) echo "hello"; forever ;;
endless) while printf 'no line ends here'; do :; done ;;
esac
