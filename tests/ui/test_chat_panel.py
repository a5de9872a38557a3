"""One turn as the chat shows it, with an engine that is made up."""

from __future__ import annotations

import pytest

from ui import chat
from ui.service import Failed, Finished, Refused, Said, Working
from ui.state import Ask, Exchange, UserSession

EARLIER = Exchange(Ask("Before?"), "earlier", "eos", "tiny")
SHOWN = chat.messages([EARLIER])


class Script:
    """A service whose turn yields what it is given, and raises what is an exception."""

    def __init__(self, *events):
        self.events = events

    def turn(self, user, ask):
        for event in self.events:
            if callable(event):
                event(user)
            elif isinstance(event, Finished):
                trace = event.run.trace
                user.exchanges.append(Exchange(ask, trace.answer, trace.finish, "tiny", event.run.run_id))
                yield event
            elif isinstance(event, Exception):
                if getattr(event, "said", ""):
                    ending = f"(broke off, reference {event.reference})"
                    user.exchanges.append(Exchange(ask, event.said, ending, "tiny"))
                raise event
            else:
                yield event


@pytest.fixture
def user():
    return UserSession(exchanges=[EARLIER])


def play(user, *events, ask=Ask("What?", ("/cache/cat.png",))) -> list[chat.View]:
    return list(chat.converse(Script(*events), user, ask, True))


LOOKING = Working("looking at cat.png", True)


def test_the_box_is_emptied_once_the_files_are_read(user):
    views = play(user, Working("opening cat.png", False), LOOKING, Said("a"))
    emptied = next(i for i, view in enumerate(views) if view.box is not None)
    assert views[emptied].box == {"text": "", "files": []}
    assert [view.messages for view in views[:emptied]] == [SHOWN] * emptied
    assert len(views[emptied].messages) == len(SHOWN) + 3  # the file, the question and the answer


def test_the_box_is_emptied_until_the_page_tells_that_it_holds_something_else(user, run):
    empty = {"text": "", "files": []}
    assert play(user, LOOKING, Finished(run))[-1].box == empty
    typed = lambda user: setattr(user, "sent", None)  # noqa: E731  (as the event of the box does)
    assert play(user, LOOKING, typed, Finished(run))[-1].box is None


def test_a_finished_turn_is_shown(user, run):
    last = play(user, LOOKING, Finished(run))[-1]
    assert last.finished.run is run
    assert not last.running
    assert last.messages[-1] == {"role": "assistant", "content": "a cat"}
    assert user.runs() == [("Turn 2: What?", "id")]
    assert not user.busy


def test_an_edited_question_hides_what_it_replaces(user, run):
    views = play(user, LOOKING, Said("a"), Refused("no"), ask=Ask("Other?", (), replaces=0))
    assert [len(view.messages) for view in views[1:-1]] == [2] * len(views[1:-1])
    assert views[-1].messages == SHOWN


def test_messages_and_exchanges_find_each_other():
    two = [Exchange(Ask("a", ("x.png", "y.png")), "b", "eos", "m"), Exchange(Ask("c"), "d", "eos", "m")]
    assert len(chat.messages(two)) == 6
    assert [chat.exchange_at(two, index) for index in (0, 2, 3, 4, 5, 6, -1)] == [0, 0, 0, 1, 1, None, None]


def test_refused_before_reading_leaves_chat_and_box(user):
    last = play(user, Working("opening cat.png", False), Refused("cat.png: the file is empty"))[-1]
    assert last.warning == "cat.png: the file is empty"
    assert last.box is None  # untouched
    assert last.messages == SHOWN


def test_failing_before_the_first_word_gives_the_question_back(user):
    last = play(user, LOOKING, Failed("ab12", ""))[-1]
    assert "ab12" in last.warning
    assert last.box == {"text": "What?", "files": ["/cache/cat.png"]}
    assert last.messages == SHOWN


def test_failing_later_keeps_the_partial_answer(user):
    last = play(user, LOOKING, Said("half an"), Failed("ab12", "half an"))[-1]
    assert "half an" in last.messages[-1]["content"]
    assert "ab12" in last.messages[-1]["content"]
    assert last.box is None
    assert not user.busy


def test_stopping_while_files_are_opened_changes_nothing(user):
    views = play(user, UserSession.halt, Working("opening cat.png", False), LOOKING, Said("no"))
    assert views[-1].messages == SHOWN
    assert not views[-1].running


def test_fast_answers_do_not_flood_the_page(user, run):
    views = play(user, LOOKING, *[Said("a" * n) for n in range(500)], Finished(run))
    assert len(views) < 20
    assert views[-1].finished


def test_closing_the_page_stops_the_turn(user):
    views = chat.converse(Script(LOOKING, Said("a"), Said("b")), user, Ask("What?"), True)
    next(views), next(views)
    views.close()
    assert user.stop.is_set()
    assert not user.busy


@pytest.mark.parametrize(("finish", "mark"), [("stopped", "(stopped)"), ("length", "(token limit reached)")])
def test_an_answer_says_why_it_ended_early(finish, mark):
    assert mark in chat._answer("half", finish)["content"]
    assert chat._answer("whole", "eos")["content"] == "whole"


def test_html_shows_as_it_was_written():
    assert chat.plain("a <b> & c") == "a &lt;b&gt; &amp; c"
    assert chat.plain("use `<b>` or\n```\n<i>\n```\n<u>") == "use `<b>` or\n```\n<i>\n```\n&lt;u&gt;"


def test_files_that_browsers_cannot_show_stand_by_their_name():
    picture, scan, _ = (part["content"] for part in chat._question("hi", ["/c/a.png", "/c/scan.tiff"]))
    assert picture["path"] == "/c/a.png"
    assert scan == "`scan.tiff`"
