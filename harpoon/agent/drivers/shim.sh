# Runs one task and outlives the agent, so that the task's end is known whatever becomes of the agent.
# Arguments: the shim file, the directory to start in, the limit of open files, a number to tell by, then the command.
# 1: the task's stdout. 2: the shim file, made anew for this very launch, where all the shim has to say goes.
# 3: where the agent hears who the task is; open for reading too, so that writing to it never fails. 4: the task's stderr.
# The task's number is learnt from where /proc/self leads: a shell reads files a byte at a time, which takes longer.
# It leads the session and process group that the task is in, and survives every signal but KILL and STOP.
trap : HUP INT QUIT USR1 USR2 PIPE ALRM TERM TSTP TTIN TTOU VTALRM PROF
echo "shim $$" >&2
(
  cd -P /proc/self
  echo "task ${PWD#/proc/}" >&2
  echo "$4 ${PWD#/proc/}" >&3
  cd -- "$2" || exit 126
  ulimit -S -n "$3"
  shift 4
  unset PWD OLDPWD
  exec "$@" 2>&4 3>&- 4>&-
)
HARPOON_SHIM_CODE=$?
echo "exit $HARPOON_SHIM_CODE" >&2
exit "$HARPOON_SHIM_CODE"
