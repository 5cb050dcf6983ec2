# Runs one task and outlives the agent, so that the task's end is known whatever becomes of the agent.
# Arguments: the shim file; what to join, a file each, and "--"; the directory to start in, the limit of open files, how
# many KiB of data a process may map ("-": as many as it likes; where it may map less as it is, that holds), a number to
# tell by; then the command.
# The task joins its groups before it is told of, so that nothing of it is ever outside; the shim itself stays outside.
# 1: the task's stdout. 2: the shim file, made anew for this very launch, where all the shim has to say goes.
# 3: where the agent hears who the task is; open for reading too, so that writing to it never fails. 4: the task's stderr.
# The task's number is learnt from where /proc/self leads: a shell reads files a byte at a time, which takes longer.
# It leads the session and process group that the task is in, and survives every signal but KILL and STOP.
trap : HUP INT QUIT USR1 USR2 PIPE ALRM TERM TSTP TTIN TTOU VTALRM PROF
echo "shim $$" >&2
(
  shift
  while [ "$1" != -- ]; do
    echo 0 > "$1" || exit 126
    shift
  done
  shift
  cd -P /proc/self
  echo "task ${PWD#/proc/}" >&2
  echo "$4 ${PWD#/proc/}" >&3
  cd -- "$1" || exit 126
  ulimit -S -n "$2"
  [ "$3" = - ] || ulimit -d "$3" 2>/dev/null
  shift 4
  unset PWD OLDPWD
  exec "$@" 2>&4 3>&- 4>&-
)
HARPOON_SHIM_CODE=$?
echo "exit $HARPOON_SHIM_CODE" >&2
exit "$HARPOON_SHIM_CODE"
