----------------------------- MODULE OwnershipTrace ----------------------------
(* Whether what happened to an agent in a run is a behaviour of Ownership: each history is gone through step by step,
   with the steps in between that nobody noted. ``Histories`` is made by tests/specs/traces.py. *)
EXTENDS Ownership, Sequences, Histories, TLC

VARIABLES
    of,  \* which history
    at   \* its next step

Step == Histories[of][at]

Begin == Init /\ of \in 1..Len(Histories) /\ at = 1

Sent(which, e) == {c \in which : c.agent = e.agent /\ c.token = e.token /\ c.inst = e.inst}

Seen(e) ==
    CASE e.kind = "granted" -> Acquire(e.inst, e.agent) /\ granted'[e.agent] = e.token
      [] e.kind = "released" -> hold[e.agent].inst # Nobody /\ Expire(hold[e.agent].inst)
      [] e.kind = "adopted" -> \E c \in Sent(Adoptions, e) : Answer(c) \/ (Passes(c) /\ UNCHANGED vars)
      [] e.kind = "applied" -> \E c \in Sent(Commands, e) : Apply(c)
      [] e.kind = "booted" -> Restart(e.agent)

Between(e) ==
    /\ e.kind \in {"adopted", "applied"}
    /\ Raised(e.agent) \/ \E c \in Sent(Calls, e) : Raise(c)

Go ==
    /\ at <= Len(Histories[of]) /\ of' = of
    /\ \/ Seen(Step) /\ at' = at + 1
       \/ Between(Step) /\ at' = at

(* Told to the test: how far each history was gone through. *)
Reached == PrintT(<<"REACHED", of, at>>)

TraceSpec == Begin /\ [][Go]_<<vars, of, at>>

================================================================================
