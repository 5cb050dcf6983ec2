"""What is told of why something stands as it does."""

from harpoon.model.why import Reason, ReasonCode, Why


def test_each_sentence_is_told_once_with_what_came_first_of_it() -> None:
    told = Why(revision="1", subject="job/web", state="pending", summary="1 of 2", is_fine=False, reasons=())
    first = Reason(code=ReasonCode.FITS_NOWHERE, sentence="it fits nowhere")
    second = Reason(code=ReasonCode.WAITING, sentence="it waits")
    again = Reason(code=ReasonCode.WAITING, sentence="it fits nowhere")
    why = told.because(one for one in (first, second, again))
    assert len(why.causes) == 2
    assert first in why.causes
    assert again not in why.causes
    assert why.reasons == tuple(one.sentence for one in why.causes)
    assert told.because((first, second)).causes == (first, second)
