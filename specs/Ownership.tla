------------------------------- MODULE Ownership -------------------------------
(* Who may command an agent, and write what it reports: holds, tokens, marks.

   Several instances, each with one lease. A hold is a key of the store; its token is the revision at which it was
   made. An instance acts by virtue of what it believes to hold: nothing ever tells it in time that this is over. What
   it sends to an agent arrives late, in any order, any number of times, or never. What it commits happens late, once,
   or never, and it may not be told. An agent's daemon is killed at any moment, and goes on with what is on its disk.

   ``Wrong`` names a mistake to be made, or "nothing"; see README.md. *)
EXTENDS Naturals

CONSTANTS
    Instances, Agents,
    Nobody,      \* stands for no instance
    TokensMax,   \* holds granted of one agent
    WritesMax,   \* writes decided by virtue of one hold
    SealsMax,    \* times that one hold is sealed
    Wrong

VARIABLES
    hold,      \* of each agent, in the store: whose, its token, how often it was sealed
    granted,   \* of each agent: how many holds were granted
    belief,    \* of each instance and agent: the hold it believes to have, and what it has written by it
    commits,   \* sent to the store
    record,    \* of each agent, in the store: what was written last, and who held the agent then
    newest,    \* of each agent: the highest that was ever written
    grants,    \* of each agent: tokens granted, and whose
    answers,   \* what agents answered to adoptions
    file,      \* of each agent: the mark on its disk
    mark,      \* of each agent: the mark that its daemon goes by
    applied,   \* of each agent: tokens by which commands were carried out, and whose
    last       \* of each agent: the one of them that was the latest

vars == <<hold, granted, belief, commits, record, newest, grants, answers, file, mark, applied, last>>
store == <<hold, granted, grants, record, newest>>
agent == <<file, mark, applied, last>>

None == [token |-> 0, inst |-> Nobody]
NoHold == [token |-> 0, inst |-> Nobody, sealed |-> 0]
NoBelief == [token |-> 0, sealed |-> 0, writes |-> 0, doubt |-> FALSE]
NoRecord == [token |-> 0, inst |-> Nobody, writes |-> 0, by |-> None]

Init ==
    /\ hold = [a \in Agents |-> NoHold]
    /\ granted = [a \in Agents |-> 0]
    /\ belief = [i \in Instances |-> [a \in Agents |-> NoBelief]]
    /\ commits = {}
    /\ record = [a \in Agents |-> NoRecord]
    /\ newest = [a \in Agents |-> <<0, 0>>]
    /\ grants = [a \in Agents |-> {}]
    /\ answers = {}
    /\ file = [a \in Agents |-> None]
    /\ mark = [a \in Agents |-> None]
    /\ applied = [a \in Agents |-> {}]
    /\ last = [a \in Agents |-> None]

--------------------------------------------------------------------------------
(* Holds. *)

Repeats == Wrong \in {"token_repeats", "token_repeats_equal_accepted"}

(* A token that repeats: how often the key was written since it was made, say. *)
NewToken(a) == IF Repeats THEN 1 ELSE granted[a] + 1

Acquire(i, a) ==
    /\ hold[a].inst = Nobody /\ granted[a] < TokensMax
    /\ hold' = [hold EXCEPT ![a] = [token |-> NewToken(a), inst |-> i, sealed |-> 0]]
    /\ granted' = [granted EXCEPT ![a] = @ + 1]
    /\ belief' = [belief EXCEPT ![i][a] = [NoBelief EXCEPT !.token = NewToken(a)]]
    /\ grants' = [grants EXCEPT ![a] = @ \cup {[token |-> NewToken(a), inst |-> i]}]
    /\ UNCHANGED <<commits, record, newest, answers, agent>>

(* An instance's lease runs out, and all its holds with it. It does not know, and goes on. *)
Expire(i) ==
    /\ \E a \in Agents : hold[a].inst = i
    /\ hold' = [a \in Agents |-> IF hold[a].inst = i THEN NoHold ELSE hold[a]]
    /\ UNCHANGED <<granted, grants, belief, commits, record, newest, answers, agent>>

(* It gives one back: first it stops acting by it. Or its process ends, or it hears that its hold is gone. *)
StopActing(i, a) ==
    /\ belief[i][a].token > 0
    /\ belief' = [belief EXCEPT ![i][a] = NoBelief]
    /\ hold' = [hold EXCEPT ![a] = IF @.inst = i THEN NoHold ELSE @]
    /\ UNCHANGED <<granted, grants, commits, record, newest, answers, agent>>

--------------------------------------------------------------------------------
(* Writing by virtue of a hold. *)

Commit(kind, i, a, writes) ==
    [kind |-> kind, inst |-> i, agent |-> a, token |-> belief[i][a].token, sealed |-> belief[i][a].sealed,
     writes |-> writes]

(* Nothing more is written before it is known what became of the last. *)
Write(i, a) ==
    LET mine == belief[i][a] IN
    /\ mine.token > 0 /\ ~mine.doubt /\ mine.writes < WritesMax
    /\ commits' = commits \cup {Commit("write", i, a, mine.writes + 1)}
    /\ belief' = [belief EXCEPT ![i][a].writes = @ + 1, ![i][a].doubt = TRUE]
    /\ UNCHANGED <<store, answers, agent>>

Seal(i, a) ==
    /\ belief[i][a].doubt /\ belief[i][a].sealed < SealsMax
    /\ commits' = commits \cup {Commit("seal", i, a, 0)}
    /\ commits' # commits
    /\ UNCHANGED <<store, belief, answers, agent>>

(* It reads the key: it was sealed, so nothing more comes of what was written before. *)
SeeSealed(i, a) ==
    LET mine == belief[i][a] IN
    /\ mine.doubt /\ hold[a].inst = i /\ hold[a].token = mine.token
    /\ \/ hold[a].sealed > mine.sealed
       \/ Wrong = "goes_on_in_doubt"
    /\ belief' = [belief EXCEPT ![i][a].sealed = hold[a].sealed, ![i][a].doubt = FALSE]
    /\ UNCHANGED <<store, commits, answers, agent>>

Holds(c) ==
    \/ /\ Wrong = "write_without_compare"
       /\ c.kind = "write"
    \/ /\ hold[c.agent].token = c.token
       /\ Wrong = "sealing_not_compared" \/ hold[c.agent].sealed = c.sealed

Happen(c) ==
    LET a == c.agent IN
    CASE ~Holds(c) -> UNCHANGED <<hold, record, newest>>
      [] Holds(c) /\ c.kind = "seal" ->
            /\ hold' = [hold EXCEPT ![a].sealed = @ + 1]
            /\ UNCHANGED <<record, newest>>
      [] Holds(c) /\ c.kind = "write" ->
            /\ record' = [record EXCEPT ![a] = [token |-> c.token, inst |-> c.inst, writes |-> c.writes,
                          by |-> [token |-> hold[a].token, inst |-> hold[a].inst]]]
            /\ newest' = [newest EXCEPT ![a] = IF (@[1] > c.token) \/ (@[1] = c.token /\ @[2] > c.writes) THEN @
                                               ELSE <<c.token, c.writes>>]
            /\ UNCHANGED hold

IsLatest(c) ==
    LET mine == belief[c.inst][c.agent] IN
    c.kind = "write" /\ mine.token = c.token /\ mine.sealed = c.sealed /\ mine.writes = c.writes

(* A commit comes to the store: at any time after it was sent. Its author may be told what became of it. *)
Deliver(c) ==
    /\ commits' = commits \ {c}
    /\ Happen(c)
    /\ \/ UNCHANGED belief
       \/ /\ IsLatest(c) /\ belief[c.inst][c.agent].doubt
          /\ belief' = [belief EXCEPT ![c.inst][c.agent] = IF Holds(c) THEN [@ EXCEPT !.doubt = FALSE] ELSE NoBelief]
    /\ UNCHANGED <<granted, grants, answers, agent>>

--------------------------------------------------------------------------------
(* Commanding. Whoever believes to hold an agent adopts it, and then commands it: when it stops is not known, so it
   never does; and what it has sent may arrive at any time. *)

Call(kind, a, of) == [kind |-> kind, agent |-> a, token |-> of.token, inst |-> of.inst]

Adoptions == UNION {{Call("adopt", a, of) : of \in grants[a]} : a \in Agents}

Commands ==
    IF Wrong = "command_without_adoption" THEN UNION {{Call("command", a, of) : of \in grants[a]} : a \in Agents}
                                          ELSE {Call("command", one.agent, one) : one \in answers}

Calls == Adoptions \cup Commands

--------------------------------------------------------------------------------
(* An agent. *)

Of(call) == [token |-> call.token, inst |-> call.inst]

(* It passes the fence, once its token is the mark. *)
Passes(call) ==
    \/ Wrong = "no_fence"
    \/ mark[call.agent] = Of(call)
    \/ /\ Wrong = "token_repeats_equal_accepted"
       /\ mark[call.agent].token = call.token

(* A higher token: first the disk, then what the daemon goes by. One at a time. *)
Raise(call) ==
    LET a == call.agent IN
    /\ file[a] = mark[a] /\ call.token > mark[a].token
    /\ ~(Wrong = "adoption_leaves_mark" /\ call.kind = "adopt")
    /\ IF Wrong = "mark_before_disk"
       THEN mark' = [mark EXCEPT ![a] = Of(call)] /\ UNCHANGED file
       ELSE file' = [file EXCEPT ![a] = Of(call)] /\ UNCHANGED mark
    /\ UNCHANGED <<store, belief, commits, answers, applied, last>>

Raised(a) ==
    /\ file[a] # mark[a]
    /\ IF Wrong = "mark_before_disk"
       THEN file' = [file EXCEPT ![a] = mark[a]] /\ UNCHANGED mark
       ELSE mark' = [mark EXCEPT ![a] = file[a]] /\ UNCHANGED file
    /\ UNCHANGED <<store, belief, commits, answers, applied, last>>

(* It answers with everything it runs, which is what was done by the latest token. *)
Answer(call) ==
    LET a == call.agent IN
    /\ Passes(call) \/ Wrong = "adoption_leaves_mark"
    /\ answers' = answers \cup {[agent |-> a, token |-> call.token, inst |-> call.inst, seen |-> last[a].token]}
    /\ answers' # answers
    /\ UNCHANGED <<store, belief, commits, agent>>

Apply(call) ==
    LET a == call.agent IN
    /\ Passes(call)
    /\ applied' = [applied EXCEPT ![a] = @ \cup {Of(call)}]
    /\ last' = [last EXCEPT ![a] = Of(call)]
    /\ UNCHANGED <<store, belief, commits, answers, file, mark>>

Restart(a) ==
    /\ IF Wrong = "mark_forgotten"
       THEN file' = [file EXCEPT ![a] = None] /\ mark' = [mark EXCEPT ![a] = None]
       ELSE mark' = [mark EXCEPT ![a] = file[a]] /\ UNCHANGED file
    /\ UNCHANGED <<store, belief, commits, answers, applied, last>>

--------------------------------------------------------------------------------

Next ==
    \/ \E i \in Instances : Expire(i)
    \/ \E i \in Instances, a \in Agents :
        Acquire(i, a) \/ StopActing(i, a) \/ Write(i, a) \/ Seal(i, a) \/ SeeSealed(i, a)
    \/ \E c \in commits : Deliver(c)
    \/ \E call \in Adoptions : Answer(call)
    \/ \E call \in Commands : Apply(call)
    \/ \E call \in Calls : Raise(call)
    \/ \E a \in Agents : Raised(a) \/ Restart(a)

Spec == Init /\ [][Next]_vars

--------------------------------------------------------------------------------
(* What is promised. *)

(* S1: tokens of commands that an agent carries out never decrease, across its restarts too. *)
S1 == \A a \in Agents : \A one \in applied[a] : one.token <= last[a].token

(* S2: commands that an agent carries out by one token are one instance's. *)
S2 == \A a \in Agents : \A one, other \in applied[a] : one.token = other.token => one.inst = other.inst

(* What is written by virtue of a hold is written by who has it. *)
WrittenByHolder == \A a \in Agents : record[a].by = [token |-> record[a].token, inst |-> record[a].inst]

(* What was decided earlier is never written behind what was decided later. *)
NeverBack == \A a \in Agents : <<record[a].token, record[a].writes>> = newest[a]

(* Once an agent has answered to an adoption, nothing is done there any more by an earlier token. *)
PictureHolds ==
    \A one \in answers : last[one.agent].token < one.token => last[one.agent].token = one.seen

(* Nobody commands an agent that may obey an earlier token yet. *)
AdoptedFirst == \A call \in Commands : file[call.agent].token >= call.token

================================================================================
