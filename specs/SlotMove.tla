------------------------------- MODULE SlotMove --------------------------------
(* How one slot of an exclusive job moves between agents without ever running twice.

   A slot is placed; its placement is revoked; its agent denies it, durably; that is recorded by virtue of the agent's
   hold; only then is the slot placed anew. Each agent has one holder after the other, of whom each may act for ever: a
   holder is known here by its token alone (who commands by which token is Ownership.tla's subject). What holders send
   arrives late, in any order, any number of times, or never, and so does what the scheduler commits. An agent's daemon
   is killed at any moment; its host, too.

   ``Wrong`` names a mistake to be made, or "nothing"; see README.md. *)
EXTENDS Naturals, FiniteSets

CONSTANTS
    Agents,
    Nowhere,        \* stands for no agent
    PlacementsMax,  \* decisions to place the slot
    TokensMax,      \* holds granted of one agent
    GuardsMax,      \* times that the scheduler's hold is taken or sealed
    CrashesMax,     \* hosts of agents that crash
    Wrong

Numbers == 1..PlacementsMax

VARIABLES
    placed,   \* of each number, in the store: the agent, and "none", "live", "revoked", "denied" (its record may be
              \* deleted) or "gone" (with its agent)
    decided,  \* the highest number that was decided on
    sent,     \* commits of the scheduler under way: number, agent and guard
    guard,    \* how the scheduler's hold was written last: every commit of it compares that
    awaits,   \* the scheduler has committed something, and does not know what became of it
    hold,     \* of each agent, in the store: the token of its hold; 0: nobody has it
    granted,  \* of each agent: the highest token granted
    starts,   \* of each number that is live no more: the highest token by which its start may have been sent
    forgets,  \* of each number that was revoked: the highest token by which its agent may have been told to forget it
    answers,  \* what agents answered: number, token; it is denied
    file,     \* of each agent, on its disk: its mark, and the highest number denied
    known,    \* of each agent: the same, as its daemon goes by
    task,     \* of each agent and number: "none", "running" or "over"
    loose,    \* of each agent: numbers forgotten since it last wrote its mark; a crash of the host may bring them back
    crashes,  \* hosts that have crashed
    dead      \* agents that are no more, as an operator has declared

vars == <<placed, decided, sent, guard, awaits, hold, granted, starts, forgets, answers, file, known, task, loose, crashes, dead>>
scheduler == <<decided, sent, guard, awaits>>
holders == <<hold, granted>>
calls == <<starts, forgets>>
agent == <<file, known, task, loose>>

Init ==
    /\ placed = [p \in Numbers |-> [agent |-> Nowhere, state |-> "none"]]
    /\ decided = 0
    /\ sent = {}
    /\ guard = 1
    /\ awaits = FALSE
    /\ hold = [a \in Agents |-> 0]
    /\ granted = [a \in Agents |-> 0]
    /\ starts = [p \in Numbers |-> 0]
    /\ forgets = [p \in Numbers |-> 0]
    /\ answers = {}
    /\ file = [a \in Agents |-> [token |-> 0, denied |-> 0]]
    /\ known = [a \in Agents |-> [token |-> 0, denied |-> 0]]
    /\ task = [a \in Agents |-> [p \in Numbers |-> "none"]]
    /\ loose = [a \in Agents |-> {}]
    /\ crashes = 0
    /\ dead = {}

State(p) == placed[p].state

(* A holder starts what is live, and has forgotten what is revoked. Its view is late, but shows at least what was there
   when it took the hold; and what it sends is late. So once a number has been live while a token was granted, a start
   by that token may arrive at any time from then on, and any number of times; likewise what is to be forgotten. *)
Started(p) ==
    IF State(p) = "live" \/ (Wrong = "view_older_than_hold" /\ State(p) # "none") THEN granted[placed[p].agent]
                                                                                 ELSE starts[p]

Told(p) == IF State(p) = "revoked" THEN granted[placed[p].agent] ELSE forgets[p]

Calls(kind, p, upto) == {[kind |-> kind, number |-> p, agent |-> placed[p].agent, token |-> t] : t \in 1..upto}

Addressed == {p \in Numbers : placed[p].agent \notin dead \cup {Nowhere}}
Starts == UNION {Calls("start", p, Started(p)) : p \in Addressed}
Forgets == UNION {Calls("forget", p, Told(p)) : p \in Addressed}

--------------------------------------------------------------------------------
(* The scheduler. It sees what it has written itself; of denials it may hear late, which only makes it wait. *)

IsFree ==
    \A p \in Numbers :
        \/ State(p) \in {"none", "denied", "gone"}
        \/ Wrong = "time_frees"
        \* That its agent does not report it is taken for its end.
        \/ Wrong = "no_denial" /\ State(p) = "revoked" /\ task[placed[p].agent][p] = "none"

NewNumber == IF Wrong = "numbers_fall" THEN PlacementsMax - decided ELSE decided + 1

(* It decides, and commits; it decides nothing else before it knows what became of that. *)
Decide(a) ==
    /\ IsFree /\ decided < PlacementsMax
    /\ ~awaits \/ Wrong = "decides_in_doubt"
    /\ decided' = decided + 1
    /\ sent' = sent \cup {[number |-> NewNumber, agent |-> a, guard |-> guard]}
    /\ awaits' = TRUE
    /\ starts' = IF Wrong = "start_before_commit" THEN [starts EXCEPT ![NewNumber] = granted[a]] ELSE starts
    /\ placed' = IF Wrong = "start_before_commit" THEN [placed EXCEPT ![NewNumber].agent = a] ELSE placed
    /\ UNCHANGED <<forgets, guard, holders, answers, agent, crashes, dead>>

Happens(c) == c.guard = guard \/ Wrong = "scheduler_not_compared"

(* A commit comes to the store; its author may be told. *)
Deliver(c) ==
    /\ sent' = sent \ {c}
    /\ placed' = IF Happens(c) THEN [placed EXCEPT ![c.number] = [agent |-> c.agent, state |-> "live"]] ELSE placed
    /\ awaits' \in IF c.guard = guard THEN {awaits, FALSE} ELSE {awaits}
    /\ UNCHANGED <<decided, guard, holders, calls, answers, agent, crashes, dead>>

(* The hold is sealed, or another has it now: what was sent has happened, and is seen, or never will. *)
Guard ==
    /\ guard < GuardsMax
    /\ guard' = guard + 1
    /\ awaits' = FALSE
    /\ UNCHANGED <<placed, decided, sent, holders, calls, answers, agent, crashes, dead>>

(* It compares the record, so that however late it is, it takes back what it was decided for, or nothing. *)
Revoke(p) ==
    /\ State(p) = "live"
    /\ placed' = [placed EXCEPT ![p].state = "revoked"]
    /\ starts' = [starts EXCEPT ![p] = Started(p)]
    /\ UNCHANGED <<scheduler, holders, forgets, answers, agent, crashes, dead>>

--------------------------------------------------------------------------------
(* Holders of agents. A former one does not know that it is one. *)

Grant(a) ==
    /\ granted[a] < TokensMax /\ a \notin dead
    /\ granted' = [granted EXCEPT ![a] = @ + 1]
    /\ hold' = [hold EXCEPT ![a] = granted[a] + 1]
    /\ UNCHANGED <<placed, scheduler, calls, answers, agent, crashes, dead>>

Expire(a) ==
    /\ hold[a] > 0
    /\ hold' = [hold EXCEPT ![a] = 0]
    /\ UNCHANGED <<placed, scheduler, granted, calls, answers, agent, crashes, dead>>

(* The answer is recorded by virtue of the hold, and only while that is held. *)
Record(one) ==
    LET p == one.number IN
    /\ State(p) \in {"live", "revoked"} /\ placed[p].agent = one.agent
    /\ hold[one.agent] = one.token \/ Wrong = "recorded_by_former_holder"
    /\ placed' = [placed EXCEPT ![p].state = "denied"]
    /\ starts' = [starts EXCEPT ![p] = Started(p)]
    /\ forgets' = [forgets EXCEPT ![p] = Told(p)]
    /\ UNCHANGED <<scheduler, holders, answers, agent, crashes, dead>>

--------------------------------------------------------------------------------
(* An agent. Its mark and its denials are in one file, which is written anew before the daemon goes by it. *)

Higher(x, y) == IF x > y THEN x ELSE y

Running(a) == {p \in Numbers : task[a][p] = "running"}

IsWriting(a) == IF Wrong = "denial_in_memory" THEN file[a].token # known[a].token ELSE file[a] # known[a]

(* The order in which a disk keeps what it is told, unless it is waited for: what was forgotten before stays so. *)
Settled(a) == IF Wrong = "disk_in_any_order" THEN loose ELSE [loose EXCEPT ![a] = {}]

Passes(c) == c.token = known[c.agent].token

IsDenied(c) == c.number <= known[c.agent].denied

(* The mark rises to the token of a holder that adopts the agent, or of any command to it. Denials may be dropped then,
   and need not be: so many of the latest are kept. *)
Raise(a, t) ==
    /\ a \notin dead /\ ~IsWriting(a) /\ t > known[a].token
    /\ \E denied \in {known[a].denied, 0} : file' = [file EXCEPT ![a] = [token |-> t, denied |-> denied]]
    /\ loose' = Settled(a)
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, known, task, crashes, dead>>

(* A command to forget denies first, also what it does not forget. *)
Deny(c) ==
    LET a == c.agent
        new == [known[a] EXCEPT !.denied = Higher(@, c.number)]
    IN
    /\ Passes(c) /\ ~IsWriting(a) /\ new # known[a]
    /\ CASE Wrong \in {"denial_in_memory", "answered_before_disk"} ->
                known' = [known EXCEPT ![a] = new] /\ UNCHANGED <<file, loose>>
         [] OTHER ->
                file' = [file EXCEPT ![a] = new] /\ loose' = Settled(a) /\ UNCHANGED known
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, task, crashes, dead>>

Written(a) ==
    /\ a \notin dead /\ IsWriting(a)
    /\ IF Wrong = "answered_before_disk" /\ known[a].token = file[a].token
       THEN file' = [file EXCEPT ![a] = known[a]] /\ UNCHANGED known
       ELSE known' = [known EXCEPT ![a] = file[a]] /\ UNCHANGED file
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, task, loose, crashes, dead>>

(* What it has been told to start before, it does not start again. *)
Obey(c) ==
    LET a == c.agent IN
    /\ Passes(c)
    /\ task[a][c.number] = "none"
    /\ ~IsDenied(c) \/ Wrong = "start_ignores_denial"
    /\ Running(a) = {}
    /\ task' = [task EXCEPT ![a][c.number] = "running"]
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, file, known, loose, crashes, dead>>

(* It ends by itself, or was told to: a holder may say so at any time, for it harms nothing. *)
Over(a, p) ==
    /\ task[a][p] = "running"
    /\ task' = [task EXCEPT ![a][p] = "over"]
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, file, known, loose, crashes, dead>>

Reply(c) == [agent |-> c.agent, number |-> c.number, token |-> c.token]

(* It forgets what it has denied, unless something of the slot runs. *)
Forgotten(c) ==
    LET a == c.agent IN
    /\ Passes(c) /\ IsDenied(c)
    /\ Running(a) = {}
    /\ task' = [task EXCEPT ![a][c.number] = "none"]
    /\ loose' = IF task[a][c.number] = "over" THEN [loose EXCEPT ![a] = @ \cup {c.number}] ELSE loose
    /\ answers' = answers \cup {Reply(c)}
    /\ answers' # answers \/ task' # task
    /\ IF Wrong = "denial_dropped_when_answered"
       THEN file' = [file EXCEPT ![a].denied = 0] /\ known' = [known EXCEPT ![a].denied = 0]
       ELSE UNCHANGED <<file, known>>
    /\ UNCHANGED <<placed, scheduler, holders, calls, crashes, dead>>

(* A start that is refused because it was denied tells as much. *)
Refused(c) ==
    /\ Passes(c) /\ IsDenied(c)
    /\ task[c.agent][c.number] = "none"
    /\ answers' = answers \cup {Reply(c)}
    /\ answers' # answers
    /\ UNCHANGED <<placed, scheduler, holders, calls, agent, crashes, dead>>

(* The daemon is killed, and goes on: its tasks run on meanwhile. *)
Restart(a) ==
    /\ a \notin dead /\ file[a] # known[a]
    /\ known' = [known EXCEPT ![a] = file[a]]
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, file, task, loose, crashes, dead>>

(* Its host crashes: records of tasks may be older ones than those written last. Tasks that they tell of begin again,
   unless they are denied. *)
AfterCrash(a, p) ==
    LET again == IF p <= file[a].denied /\ Wrong # "denied_begins_again" THEN "over" ELSE "running" IN
    CASE task[a][p] = "running" -> {again, "none"}
      [] task[a][p] = "over" -> {"over", again}
      [] OTHER -> IF p \in loose[a] THEN {"none", again} ELSE {"none"}

Crash(a) ==
    /\ a \notin dead /\ crashes < CrashesMax
    /\ crashes' = crashes + 1
    /\ known' = [known EXCEPT ![a] = file[a]]
    /\ \E after \in [Numbers -> {"none", "running", "over"}] :
        /\ \A p \in Numbers : after[p] \in AfterCrash(a, p)
        /\ task' = [task EXCEPT ![a] = after]
    /\ loose' = [loose EXCEPT ![a] = {}]
    /\ UNCHANGED <<placed, scheduler, holders, calls, answers, file, dead>>

--------------------------------------------------------------------------------
(* An operator declares an agent dead, which it is. What comes to be placed there by who has not heard goes, too. *)

Bury(a) == [p \in Numbers |-> IF placed[p].agent = a /\ State(p) # "none" THEN [placed[p] EXCEPT !.state = "gone"]
                                                                          ELSE placed[p]]

DeclareDead(a) ==
    /\ a \notin dead
    /\ dead' = dead \cup {a}
    /\ placed' = Bury(a)
    /\ task' = [task EXCEPT ![a] = [p \in Numbers |-> "none"]]
    /\ hold' = [hold EXCEPT ![a] = 0]
    \* Nothing of it matters any more.
    /\ starts' = [p \in Numbers |-> IF placed[p].agent = a THEN 0 ELSE starts[p]]
    /\ forgets' = [p \in Numbers |-> IF placed[p].agent = a THEN 0 ELSE forgets[p]]
    /\ answers' = {one \in answers : one.agent # a}
    /\ file' = [file EXCEPT ![a] = [token |-> 0, denied |-> 0]]
    /\ known' = [known EXCEPT ![a] = [token |-> 0, denied |-> 0]]
    /\ loose' = [loose EXCEPT ![a] = {}]
    /\ UNCHANGED <<scheduler, granted, crashes>>

Mourn(a) ==
    /\ a \in dead /\ placed # Bury(a)
    /\ placed' = Bury(a)
    /\ UNCHANGED <<scheduler, holders, calls, answers, agent, crashes, dead>>

--------------------------------------------------------------------------------

Next ==
    \/ \E a \in Agents \ dead : Decide(a)
    \/ \E c \in sent : Deliver(c)
    \/ Guard
    \/ \E p \in Numbers : Revoke(p)
    \/ \E a \in Agents : Grant(a) \/ Expire(a)
    \/ \E one \in answers : Record(one)
    \/ \E c \in Starts : Obey(c) \/ Refused(c)
    \/ \E c \in Forgets : Deny(c) \/ Forgotten(c)
    \/ \E a \in Agents : \E t \in 1..granted[a] : Raise(a, t)
    \/ \E a \in Agents : Written(a) \/ Restart(a) \/ Crash(a) \/ DeclareDead(a) \/ Mourn(a)
    \/ \E a \in Agents, p \in Numbers : Over(a, p)

Spec == Init /\ [][Next]_vars

--------------------------------------------------------------------------------
(* What is promised. *)

Open == {p \in Numbers : State(p) \in {"live", "revoked"}}

(* S3: a slot never runs twice. *)
S3 == Cardinality({one \in Agents \X Numbers : task[one[1]][one[2]] = "running"}) <= 1

(* S4: what runs has been placed, there. *)
Claimed == \A a \in Agents, p \in Numbers : task[a][p] # "none" => State(p) # "none" /\ placed[p].agent = a

(* S4: a slot is placed anew only after what it had is denied, or its agent dead. *)
OneOpen == Cardinality(Open) <= 1

(* S4: numbers rise. *)
NumbersRise == \A p \in Open, q \in Numbers : q > p => State(q) = "none"

(* What is recorded as denied does not run. *)
Ended == \A p \in Numbers : State(p) \in {"denied", "gone"} => task[placed[p].agent][p] # "running"

================================================================================
