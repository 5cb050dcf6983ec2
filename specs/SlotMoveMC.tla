------------------------------ MODULE SlotMoveMC -------------------------------
(* For the checker: agents are interchangeable. *)
EXTENDS SlotMove, TLC

Interchangeable == Permutations(Agents)

================================================================================
