#!/bin/sh
# Writes down what the real helm (v3.22, KubeVersion v1.37) makes of the cases here: HELM=path ./golden.sh
cd "$(dirname "$0")" || exit 1
for case in */; do
  (
    cd "$case" || exit 1
    name=release-name
    set --
    while IFS= read -r argument; do
      if [ "$last" = --name ]; then name=$argument; else [ "$argument" = --name ] || set -- "$@" "$argument"; fi
      last=$argument
    done <<ARGS
$(cat args 2>/dev/null)
ARGS
    [ "$1" = "" ] && shift $#
    if "${HELM:-helm}" template "$name" chart "$@" >expected.yaml 2>helm.err; then rm helm.err
    else rm expected.yaml; [ -e refused ] || : >refused; fi
  )
done
