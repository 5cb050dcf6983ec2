-------------------------------- MODULE Claims ---------------------------------
(* How the attempts of an operation are claimed by workers and closed, once each, and what follows a closing fires once.

   What happens to a run is a log of events in the store. The shard's holder is the only one who writes it: it decides
   by what it has in memory, writes many events in one commit, one commit at a time, and tells nobody before that is
   durable. A lease may end at any moment; then there is another holder, and the former one does not know. Workers ask
   for work and return what they have finished in one request, whose answer may be lost: the same request, told by its
   ``seq``, may arrive at any holder, at any time, and any number of times, and so may each answer.

   An attempt that is closed as "fail" or "lost" is followed by the next attempt, if there is one; "done" fires the edge.
   ``Wrong`` names a mistake to be made, or "nothing"; see README.md. *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
    Workers,
    AttemptsMax,    \* attempts of the operation
    TermsMax,       \* holders, one after the other
    GuardsMax,      \* times that the hold is written: taken, or sealed
    AsksMax,        \* requests of a worker
    DeathsMax,      \* workers that die
    Wrong

Attempts == 1..AttemptsMax
Terms == 1..TermsMax

VARIABLES
    log,      \* in the store: the events, in order
    cuts,     \* where its records begin: how many events come before. Kept only of mistakes by which one is written twice
    guard,    \* how the hold was written last: every commit compares that
    term,     \* the latest holder; those before it act on
    sent,     \* commits under way: by whom, guard, how many events come before, events
    holder,   \* of each term: what it goes by (see Taken)
    session,  \* of each term and worker: the latest request it took, and the answer
    asked,    \* requests of workers
    worker,   \* of each worker: is it alive, the request it sent last, whether that is answered, what it runs, and what
              \* it has finished and not been answered
    acked,    \* closings that their worker was told are kept
    refused   \* closings and claims that their worker was told are no longer its own

vars == <<log, cuts, guard, term, sent, holder, session, asked, worker, acked, refused>>
workers == <<asked, worker, acked, refused>>

--------------------------------------------------------------------------------
(* A log, folded. *)

Claim(n, token, w) == [kind |-> "claimed", n |-> n, token |-> token, by |-> w, label |-> ""]
Closing(n, token, w, label) == [kind |-> "closed", n |-> n, token |-> token, by |-> w, label |-> label]
\* Only somebody who errs writes one: what a closing opens stands in the closing.
Opening == [kind |-> "opened", n |-> 0, token |-> <<0, 0>>, by |-> "", label |-> ""]

None == [n |-> 0, token |-> <<0, 0>>]
Ref(e) == [n |-> e.n, token |-> e.token]

Of(events, kind) == {events[i] : i \in {j \in DOMAIN events : events[j].kind = kind}}
ClaimsOf(events, n) == {e \in Of(events, "claimed") : e.n = n}
IsClosed(events, n) == \E e \in Of(events, "closed") : e.n = n
IsDone(events) == \E e \in Of(events, "closed") : e.label = "done"

(* The attempt that is open; 0: none is. *)
Current(events) ==
    IF IsDone(events) \/ \A n \in Attempts : IsClosed(events, n) THEN 0
    ELSE CHOOSE n \in Attempts : ~IsClosed(events, n) /\ \A m \in 1..(n - 1) : IsClosed(events, m)

IsOpen(events, claim) == Current(events) = claim.n /\ \E e \in ClaimsOf(events, claim.n) : e.token = claim.token

Fires(e) == e.kind = "opened" \/ (e.kind = "closed" /\ e.label = "done")

--------------------------------------------------------------------------------
(* Holders. What a term has read is in the log, and stays; the rest of ``mine`` it has decided itself. *)

Taken(events, sealed, made) ==
    [mine |-> events, sure |-> Len(events), flying |-> Len(events), sealed |-> sealed, made |-> made, revived |-> {}]

NoAnswer == [seq |-> 0, upto |-> 0, claim |-> None, ok |-> {}, late |-> {}]

Init ==
    /\ log = <<>>
    /\ cuts = {}
    /\ guard = 1
    /\ term = 1
    /\ sent = {}
    /\ holder = [t \in Terms |-> Taken(<<>>, IF t = 1 THEN 1 ELSE 0, 0)]
    /\ session = [t \in Terms |-> [w \in Workers |-> NoAnswer]]
    /\ asked = {}
    /\ worker = [w \in Workers |-> [alive |-> TRUE, seq |-> 0, heard |-> TRUE, running |-> {}, finished |-> {}]]
    /\ acked = {}
    /\ refused = {}

(* What compares an earlier guard will not happen any more. *)
Pending(commits, now) ==
    IF Wrong \in {"commit_not_compared", "refusal_taken_for_done"} THEN commits ELSE {c \in commits : c.guard = now}

(* The lease is over, and another instance takes the hold; then it reads the log. *)
Take ==
    /\ term < TermsMax /\ guard < GuardsMax
    /\ term' = term + 1
    /\ guard' = guard + 1
    /\ sent' = Pending(sent, guard + 1)
    /\ \E n \in IF Wrong = "view_before_hold" THEN 0..Len(log) ELSE {Len(log)} :
        LET seen == SubSeq(log, 1, n)
            taken == Taken(seen, guard + 1, 0) IN
        holder' = [holder EXCEPT ![term + 1] =
            IF Wrong = "fold_decides_anew" /\ IsDone(seen) THEN [taken EXCEPT !.mine = Append(seen, Opening)] ELSE taken]
    /\ UNCHANGED <<log, cuts, session, workers>>

IsFlying(t) == holder[t].flying > holder[t].sure

(* All that was decided since goes into the next commit, once the one before is known to have happened. *)
Send(t) ==
    LET h == holder[t]
        decided == SubSeq(h.mine, h.sure + 1, Len(h.mine))
        commit == [term |-> t, guard |-> h.sealed, first |-> h.sure, events |-> decided] IN
    /\ ~IsFlying(t) /\ decided # <<>>
    /\ sent' = Pending(sent \cup {commit}, guard)
    /\ holder' = [holder EXCEPT ![t].flying = Len(h.mine)]
    /\ UNCHANGED <<log, cuts, guard, term, session, workers>>

(* One record of the run; that of the same first event is written over, and what came behind it is read no more unless
   it follows on. *)
Written(c) ==
    LET upto == c.first + Len(c.events) IN
    SubSeq(log, 1, c.first) \o c.events \o (IF upto \in cuts THEN SubSeq(log, upto + 1, Len(log)) ELSE <<>>)

(* A commit comes to the store; its author is told, or the answer is lost. *)
Deliver(c) ==
    LET happens == (c.guard = guard \/ Wrong = "commit_not_compared") /\ c.first <= Len(log)
        isHeard == IsFlying(c.term) /\ holder[c.term].sealed = c.guard /\ holder[c.term].sure = c.first
        succeeds == happens \/ Wrong = "refusal_taken_for_done" IN
    /\ sent' = sent \ {c}
    /\ log' = IF happens THEN Written(c) ELSE log
    /\ cuts' = IF happens /\ Wrong \in {"commit_not_compared", "goes_on_in_doubt"} THEN cuts \cup {c.first} ELSE cuts
    /\ \E isTold \in IF guard < GuardsMax THEN BOOLEAN ELSE {TRUE} :
        holder' = IF isHeard /\ isTold /\ succeeds THEN [holder EXCEPT ![c.term].sure = @ + Len(c.events)] ELSE holder
    /\ UNCHANGED <<guard, term, session, workers>>

(* A commit's answer does not come. The hold is written anew, if it still is this term's; what was sent has happened
   then, or never will, and the log tells which. What did not happen is written again as it was, with what was decided
   since; nothing is decided anew. *)
Seal(t) ==
    LET h == holder[t]
        next == IF Wrong = "goes_on_in_doubt" THEN guard ELSE guard + 1
        known == IF Len(log) >= h.flying THEN h.flying ELSE h.sure
        again == Wrong = "written_again_in_doubt" /\ known = h.flying IN
    /\ IsFlying(t) /\ h.sealed = guard /\ guard < GuardsMax
    /\ guard' = next
    /\ sent' = IF Wrong = "goes_on_in_doubt" THEN sent ELSE Pending(sent, next)
    /\ holder' = [holder EXCEPT ![t] = [h EXCEPT
        !.sealed = next, !.sure = known, !.flying = known,
        !.mine = IF again THEN log \o SubSeq(h.mine, h.sure + 1, Len(h.mine)) ELSE @]]
    /\ UNCHANGED <<log, cuts, term, session, workers>>

(* A claim was not kept alive in time: which it is, time tells, and so any moment may. *)
Expire(t) ==
    LET events == holder[t].mine
        n == Current(events) IN
    /\ t <= term /\ n # 0
    /\ \E claim \in ClaimsOf(events, n) :
        /\ Wrong = "adopted_without_clock" => claim.token[1] = t
        /\ holder' = [holder EXCEPT ![t].mine = Append(events, Closing(n, claim.token, claim.by, "lost"))]
    /\ UNCHANGED <<log, cuts, guard, term, sent, session, workers>>

--------------------------------------------------------------------------------
(* The exchange: a holder takes a request. *)

(* A closing is taken of the attempt that is open, by the token of its claim. *)
Accepts(t, events, c) ==
    \/ IsOpen(events, c)
    \/ Wrong = "closing_by_attempt_only" /\ Current(events) # 0 /\ ClaimsOf(events, Current(events)) # {}
    \/ Wrong = "lost_is_accepted" /\ \E e \in ClaimsOf(events, c.n) : e.token = c.token
    \/ [n |-> c.n, token |-> c.token] \in holder[t].revived

Kept(events, c) == IF Wrong = "closing_by_attempt_only" THEN [c EXCEPT !.n = Current(events)] ELSE c

IsKept(events, c) == c \in Of(events, "closed")

RECURSIVE Closed(_, _, _)
Closed(t, events, closings) ==
    IF closings = {} THEN events
    ELSE LET c == CHOOSE one \in closings : \A other \in closings : one.n <= other.n
             isTaken == Accepts(t, events, c) /\ ~IsKept(events, c) IN
         Closed(t, IF isTaken THEN Append(events, Kept(events, c)) ELSE events, closings \ {c})

(* Tokens of a term are like those of no other. *)
Token(t) == <<IF Wrong = "token_repeats" THEN 0 ELSE t, holder[t].made + 1>>

Held(r) == r.closings \cup r.beats

IsNew(t, r) == r.seq > session[t][r.by].seq \/ Wrong = "seq_ignored"

(* Closings first, then what is claimed beside; a request that has nothing to tell waits for a claim. *)
Handle(t, r, isGiven) ==
    LET h == holder[t]
        closed == Closed(t, h.mine, r.closings)
        n == Current(closed)
        isNew(c) == Wrong = "repeated_closing_refused" => ~IsKept(h.mine, c)
        ok == {c \in r.closings : IsKept(closed, Kept(h.mine, c)) /\ isNew(c)}
        claim == Claim(n, Token(t), r.by)
        after == IF isGiven THEN Append(closed, claim) ELSE closed
        gone == {b \in r.beats : ~IsOpen(closed, b) /\ Wrong # "beat_revives"}
        late == {Ref(c) : c \in r.closings \ ok} \cup gone IN
    /\ t <= term /\ IsNew(t, r)
    \* A refusal is sent only once the hold was seen to be this term's after it was found, which a former holder never
    \* sees: a later one may have given what is not known here.
    /\ late = {} \/ t = term \/ Wrong = "refused_without_proof"
    /\ isGiven \/ Held(r) # {}
    /\ isGiven => n # 0 /\ ClaimsOf(closed, n) = {}
    /\ holder' = [holder EXCEPT ![t] = [h EXCEPT
        !.mine = after,
        !.made = IF isGiven THEN @ + 1 ELSE @,
        !.revived = IF Wrong = "beat_revives" THEN @ \cup r.beats ELSE @]]
    /\ session' = [session EXCEPT ![t][r.by] =
        [seq |-> r.seq, upto |-> Len(after), claim |-> IF isGiven THEN Ref(claim) ELSE None,
         ok |-> ok, late |-> late]]
    /\ UNCHANGED <<log, cuts, guard, term, sent, workers>>

(* An answer is sent once all that it tells of is durable. It is kept until the next request tells that it was heard. *)
IsSent(t, answer) ==
    \/ answer.upto <= holder[t].sure
    \/ Wrong = "answered_before_commit" /\ answer.claim = None
    \/ Wrong = "claim_before_commit"

Forget(t, w) ==
    /\ Wrong = "answer_forgotten_when_sent"
    /\ session[t][w].claim # None /\ IsSent(t, session[t][w])
    /\ session' = [session EXCEPT ![t][w].claim = None]
    /\ UNCHANGED <<log, cuts, guard, term, sent, holder, workers>>

--------------------------------------------------------------------------------
(* Workers. *)

Ask(w) ==
    LET me == worker[w] IN
    /\ me.alive /\ me.seq < AsksMax
    /\ me.heard \/ Wrong = "goes_on_unheard"
    /\ asked' = asked \cup {[by |-> w, seq |-> me.seq + 1, closings |-> me.finished, beats |-> me.running]}
    /\ worker' = [worker EXCEPT ![w].seq = @ + 1, ![w].heard = FALSE]
    /\ UNCHANGED <<log, cuts, guard, term, sent, holder, session, acked, refused>>

Hear(w, t) ==
    LET me == worker[w]
        answer == session[t][w] IN
    /\ me.alive /\ ~me.heard /\ answer.seq = me.seq /\ IsSent(t, answer)
    /\ worker' = [worker EXCEPT ![w] = [me EXCEPT
        !.heard = TRUE,
        !.running = (@ \ answer.late) \cup (IF answer.claim = None THEN {} ELSE {answer.claim}),
        !.finished = {c \in @ : c \notin answer.ok /\ Ref(c) \notin answer.late}]]
    /\ acked' = acked \cup answer.ok
    /\ refused' = refused \cup answer.late
    /\ UNCHANGED <<log, cuts, guard, term, sent, holder, session, asked>>

Finish(w, claim, label) ==
    /\ worker' = [worker EXCEPT ![w].running = @ \ {claim},
                                ![w].finished = @ \cup {Closing(claim.n, claim.token, w, label)}]
    /\ UNCHANGED <<log, cuts, guard, term, sent, holder, session, asked, acked, refused>>

Die(w) ==
    /\ worker[w].alive
    /\ Cardinality({v \in Workers : ~worker[v].alive}) < DeathsMax
    /\ worker' = [worker EXCEPT ![w] = [@ EXCEPT !.alive = FALSE, !.running = {}, !.finished = {}]]
    /\ UNCHANGED <<log, cuts, guard, term, sent, holder, session, asked, acked, refused>>

--------------------------------------------------------------------------------

Next ==
    \/ Take
    \/ \E t \in Terms : Send(t) \/ Seal(t) \/ Expire(t)
    \/ \E c \in sent : Deliver(c)
    \/ \E t \in Terms, r \in asked, isGiven \in BOOLEAN : Handle(t, r, isGiven)
    \/ \E t \in Terms, w \in Workers : Forget(t, w) \/ Hear(w, t)
    \/ \E w \in Workers : Ask(w) \/ Die(w)
    \/ \E w \in Workers, label \in {"done", "fail"} : \E claim \in worker[w].running : Finish(w, claim, label)

Spec == Init /\ [][Next]_vars

--------------------------------------------------------------------------------
(* What is promised. *)

(* S7: an attempt is claimed once, ... *)
OneWinner == \A n \in Attempts : Cardinality({i \in DOMAIN log : log[i].kind = "claimed" /\ log[i].n = n}) <= 1

(* ... by a token that no other claim ever has, ... *)
TokensOnce == \A d, e \in Of(log, "claimed") : d.token = e.token => d = e

(* ... and closed once: no closing is applied twice. *)
OneCompletion ==
    \A i, j \in DOMAIN log :
        log[i].kind = "closed" /\ log[j].kind = "closed" /\ (log[i].n = log[j].n \/ log[i].token = log[j].token) => i = j

(* What closes it is its own claim's. *)
ClosedByWinner ==
    \A i \in DOMAIN log : log[i].kind = "closed" =>
        \E j \in 1..(i - 1) : log[j] = Claim(log[i].n, log[i].token, log[i].by)

(* S8: what a closing fires, it fires once. *)
FiredOnce == Cardinality({i \in DOMAIN log : Fires(log[i])}) <= 1

(* S5: a closing that was acknowledged is never lost. *)
AckedKept == acked \subseteq Of(log, "closed")

(* What a worker has been given is its claim, durably. *)
Claimed ==
    \A w \in Workers : \A one \in worker[w].running \cup worker[w].finished : Claim(one.n, one.token, w) \in Of(log, "claimed")

(* A worker is told that a claim is not its own any more when that is so, and never of a closing that is kept. *)
RefusedRightly ==
    \A one \in refused :
        /\ \E e \in Of(log, "closed") : e.n = one.n
        /\ ~\E c \in Of(log, "closed") : Ref(c) = one /\ c.label # "lost"

(* A lost answer costs nothing: what a worker was given it has, or will have by asking again. (That a hold is lost may
   cost an attempt.) *)
AnswerKept ==
    term = 1 => \A w \in Workers : \A e \in Of(log, "claimed") :
        LET claim == Ref(e)
            me == worker[w] IN
        e.by = w /\ me.alive /\ IsOpen(holder[1].mine, claim) =>
            \/ claim \in me.running \cup {Ref(c) : c \in me.finished}
            \/ ~me.heard /\ session[1][w].seq = me.seq /\ session[1][w].claim = claim

--------------------------------------------------------------------------------
(* What comes about, if whoever can go on does: an attempt whose worker died is claimed again, as long as there are
   attempts left. Only the claims of the dead must expire; nobody must die, err, or lose a lease. *)

ExpireDead(t) == /\ \E e \in ClaimsOf(holder[t].mine, Current(holder[t].mine)) : ~worker[e.by].alive
                 /\ Expire(t)

GoOn ==
    \/ \E t \in Terms : Send(t) \/ Seal(t)
    \/ \E c \in sent : Deliver(c)
    \/ ExpireDead(term)
    \/ \E r \in asked : Handle(term, r, TRUE)
    \/ \E w \in Workers : Hear(w, term) \/ Ask(w)

Fair == Spec /\ WF_vars(GoOn)

IsOrphaned(n) == n < AttemptsMax /\ ~IsClosed(log, n) /\ \E e \in ClaimsOf(log, n) : ~worker[e.by].alive

\* The bound of the model: nobody asks any more.
IsSilent == \A w \in Workers : worker[w].alive => worker[w].heard /\ worker[w].seq = AsksMax

Reclaimed ==
    \A n \in 1..(AttemptsMax - 1) : IsOrphaned(n) ~> (IsDone(log) \/ ClaimsOf(log, n + 1) # {} \/ IsSilent)

================================================================================
