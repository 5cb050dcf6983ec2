"""The properties that hold of every history, simulated or real: one small class each."""

from typing import Final

from tests.proof.checks.answering import ComparedAndOnce, DurableAnswers, MonotoneSessions
from tests.proof.checks.asking import RunsKept, RunsOnce
from tests.proof.checks.clocks import IsClaimed, RunsEnd, RunTimers, StandsStill
from tests.proof.checks.completing import CompleteForGood, EndsRightly, FewAtOnce
from tests.proof.checks.conducting import FiresOnce, OneCompletion, WithinBounds
from tests.proof.checks.converging import Converges, CoreConverges
from tests.proof.checks.ending import BatchesEnd
from tests.proof.checks.everywhere import OncePerAgent
from tests.proof.checks.failing import FailStatic
from tests.proof.checks.fencing import Fence, OneOwner
from tests.proof.checks.folding import ForksBegin, RunsFold
from tests.proof.checks.items import ItemsOnce
from tests.proof.checks.limits import EvictionsBounded, NeverOverCommitted
from tests.proof.checks.owning import OneLiveOwner
from tests.proof.checks.placing import ClaimFirst
from tests.proof.checks.recurring import DuesDecided, FiredOnce
from tests.proof.checks.rolling import CanariesFew, MakesBeforeItBreaks, PreemptsLower
from tests.proof.checks.running import NoDoubleRun, NoOrphans
from tests.proof.checks.timing import TimersHold
from tests.proof.checks.waiting import NoLastingOverload, NoStarvation
from tests.proof.checks.watching import WholeWatches
from tests.proof.judge import Check

CHECKS: Final[tuple[type[Check], ...]] = (
    Fence,
    OneOwner,
    NoDoubleRun,
    ClaimFirst,
    DurableAnswers,
    ComparedAndOnce,
    RunsKept,
    RunsOnce,
    OneCompletion,
    FiresOnce,
    WithinBounds,
    StandsStill,
    ItemsOnce,
    RunsFold,
    ForksBegin,
    WholeWatches,
    MonotoneSessions,
    NoOrphans,
    EvictionsBounded,
    NeverOverCommitted,
    FailStatic,
    MakesBeforeItBreaks,
    CanariesFew,
    PreemptsLower,
    FiredOnce,
    CompleteForGood,
    FewAtOnce,
    EndsRightly,
    OncePerAgent,
    Converges,
    OneLiveOwner,
    TimersHold,
    CoreConverges,
    NoStarvation,
    NoLastingOverload,
    DuesDecided,
    BatchesEnd,
    RunsEnd,
    RunTimers,
    IsClaimed,
)
