"""What instances tell one another of permits, as it goes over the wire, and as `core.homes` has it."""

from collections.abc import Mapping
from datetime import timedelta

from harpoon.core.homes import Given, Report, Standing, Want
from harpoon.model.permits import KeyGiven, KeyReported, PermitAnswer, PermitReport, ShardHeld


def report_told(instance: str, report: Report, wait_s: float) -> PermitReport:
    """Return a report as it is sent."""
    return PermitReport(
        instance=instance,
        number=report.number,
        conducts=_shards(report.conducts),
        homes=_shards(report.homes),
        keys=tuple(
            KeyReported(
                namespace=key[0],
                key=key[1],
                held=report.held.get(key, 0),
                wants=0 if (want := report.wants.get(key)) is None else want.wanted,
                most=0 if want is None else want.most,
                runs=report.runs.get(key, ()),
            )
            for key in dict.fromkeys((*report.held, *report.wants))
        ),
        wait=timedelta(seconds=wait_s),
    )


def report_of(told: PermitReport) -> Report:
    """Return a report that was sent."""
    keys = [((one.namespace, one.key), one) for one in told.keys]
    return Report(
        number=told.number,
        conducts={one.shard: one.epoch for one in told.conducts},
        homes={one.shard: one.epoch for one in told.homes},
        held={key: one.held for key, one in keys if one.held > 0},
        wants={key: Want(one.wants, one.most) for key, one in keys if one.wants > 0},
        runs={key: one.runs for key, one in keys if one.runs},
    )


def answer_told(number: int, given: Given) -> PermitAnswer:
    """Return an answer as it is sent."""
    return PermitAnswer(
        number=number,
        keys=tuple(
            KeyGiven(
                namespace=key[0],
                key=key[1],
                given=given.grants.get(key, 0),
                held=standing.held,
                runs=standing.runs,
                lacks=standing.lacks,
                is_closed=standing.is_closed,
            )
            for key, standing in given.told.items()
        ),
    )


def given_of(told: PermitAnswer) -> Given:
    """Return an answer that was sent."""
    return Given(
        grants={(one.namespace, one.key): one.given for one in told.keys if one.given > 0},
        told={(one.namespace, one.key): Standing(one.held, one.runs, one.lacks, one.is_closed) for one in told.keys},
    )


def _shards(epochs: Mapping[int, int]) -> tuple[ShardHeld, ...]:
    return tuple(ShardHeld(shard=shard, epoch=epoch) for shard, epoch in epochs.items())
