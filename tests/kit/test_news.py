"""What is worth saying."""

from datetime import timedelta

from harpoon.kit.news import News


def test_the_same_is_said_once_and_again_after_a_while() -> None:
    news = News(timedelta(seconds=30))
    said = [(text, at) for text, at in (("a", 1), ("a", 2), ("a", 30), ("a", 31), ("a", 60)) if news.is_news(text, at)]
    assert said == [("a", 1), ("a", 31)]


def test_what_is_new_is_said_at_once() -> None:
    news = News()
    assert [news.is_news(text, 0.0) for text in ("a", "b", "b", "a")] == [True, True, False, True]


def test_what_was_forgotten_is_new() -> None:
    news = News()
    assert not news.forget()
    assert news.is_news("a", 0.0)
    assert news.forget()
    assert not news.forget()
    assert news.is_news("a", 0.0)
