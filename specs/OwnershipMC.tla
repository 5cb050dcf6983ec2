------------------------------ MODULE OwnershipMC ------------------------------
(* For the checker: instances and agents are interchangeable. *)
EXTENDS Ownership, TLC

Interchangeable == Permutations(Instances) \cup Permutations(Agents)

================================================================================
