# Runs one task and outlives the agent.
trap : HUP INT QUIT USR1 USR2 PIPE ALRM TERM TSTP TTIN TTOU VTALRM PROF
echo "shim $$" >&2
cd -- "$2" || exit 126
ulimit -S -n "$3"
echo "$4" >&3
shift 4
unset PWD OLDPWD
"$@" 2>&4 3>&- 4>&-
HARPOON_SHIM_CODE=$?
echo "exit $HARPOON_SHIM_CODE" >&2
exit "$HARPOON_SHIM_CODE"
