-------------------------------- MODULE ClaimsMC -------------------------------
(* For the checker: workers are interchangeable. *)
EXTENDS Claims, TLC

Interchangeable == Permutations(Workers)

================================================================================
