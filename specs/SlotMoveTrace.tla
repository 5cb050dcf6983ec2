------------------------------ MODULE SlotMoveTrace ----------------------------
(* Whether what happened to a slot in a run is a behaviour of SlotMove: each history is gone through step by step, with
   the steps in between that nobody noted. ``Histories`` is made by tests/specs/traces.py. *)
EXTENDS SlotMove, Sequences, Histories, TLC

VARIABLES
    of,   \* which history
    at,   \* its next step
    runs  \* of each agent and number: processes

Step == Histories[of][at]

Begin ==
    /\ Init
    /\ of \in 1..Len(Histories) /\ at = 1
    /\ runs = [a \in Agents |-> [p \in Numbers |-> 0]]

Sent(which, e) == {c \in which : c.agent = e.agent /\ c.number = e.number}
SentBy(which, e) == {c \in Sent(which, e) : c.token = e.token}

(* What was done before is done again, and changes nothing. *)
Again(c) == Passes(c) /\ Reply(c) \in answers /\ UNCHANGED vars

Seen(e) ==
    CASE e.kind = "placed" -> \E c \in sent : c.number = e.number /\ c.agent = e.agent /\ Deliver(c) /\ ~awaits'
      [] e.kind = "revoked" -> Revoke(e.number)
      [] e.kind = "denied" -> \E one \in answers : one.number = e.number /\ Record(one)
      [] e.kind = "dead" -> DeclareDead(e.agent) \/ Mourn(e.agent)
      [] e.kind = "granted" -> Grant(e.agent) /\ hold'[e.agent] = e.token
      [] e.kind = "released" -> Expire(e.agent)
      [] e.kind = "adopted" -> known[e.agent].token = e.token /\ UNCHANGED vars
      [] e.kind = "obeyed" ->
            \E c \in SentBy(Starts, e) : Obey(c) \/ (Passes(c) /\ task[c.agent][c.number] # "none" /\ UNCHANGED vars)
      [] e.kind = "refused" -> \E c \in SentBy(Starts, e) : Refused(c) \/ Again(c)
      [] e.kind = "forgotten" ->
            \E c \in SentBy(Forgets, e) : Forgotten(c) \/ (Again(c) /\ task[c.agent][c.number] = "none")
      [] e.kind \in {"started", "exited"} -> task[e.agent][e.number] = "running" /\ UNCHANGED vars
      [] e.kind = "booted" -> Restart(e.agent) \/ (file[e.agent] = known[e.agent] /\ UNCHANGED vars)

(* A process is what a task is running by; of one that is over there is none. *)
Counted(e) ==
    CASE e.kind = "started" -> runs' = [runs EXCEPT ![e.agent][e.number] = @ + 1]
      [] e.kind = "exited" -> runs[e.agent][e.number] > 0 /\ runs' = [runs EXCEPT ![e.agent][e.number] = @ - 1]
      [] OTHER -> runs' = runs

Between(e) ==
    CASE e.kind = "placed" -> e.number = decided + 1 /\ Decide(e.agent)
      [] e.kind \in {"adopted", "obeyed", "refused"} -> Written(e.agent) \/ (e.token <= granted[e.agent] /\ Raise(e.agent, e.token))
      [] e.kind = "started" -> \E c \in Sent(Starts, e) : Obey(c)
      [] e.kind = "forgotten" ->
            \/ Written(e.agent)
            \/ e.token <= granted[e.agent] /\ Raise(e.agent, e.token)
            \/ \E c \in SentBy(Forgets, e) : Deny(c)
            \/ runs[e.agent][e.number] = 0 /\ Over(e.agent, e.number)
      [] OTHER -> FALSE

Go ==
    /\ at <= Len(Histories[of]) /\ of' = of
    /\ \/ Seen(Step) /\ Counted(Step) /\ at' = at + 1
       \/ Between(Step) /\ at' = at /\ runs' = runs

(* Told to the test: how far each history was gone through. *)
Reached == PrintT(<<"REACHED", of, at>>)

TraceSpec == Begin /\ [][Go]_<<vars, of, at, runs>>

================================================================================
