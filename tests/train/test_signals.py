import os
import signal
import threading

import pytest

from unshuffle.train.signals import StopFlag

STOPPING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


def send(number: signal.Signals, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOPPING)
def test_the_first_signal_is_a_wish_wherever_it_comes(number):
    with StopFlag() as stop:
        assert not stop.raised
        with stop.reading():
            send(number)
        assert stop.raised


@pytest.mark.parametrize("number", STOPPING[:2])
def test_the_second_signal_interrupts_the_wait_for_samples_alone(number):
    with StopFlag() as stop:
        send(number, 2)
        with pytest.raises(KeyboardInterrupt), stop.reading():
            pytest.fail("it was wanted before the wait began")

    with StopFlag() as stop:
        send(number)
        with pytest.raises(KeyboardInterrupt), stop.reading():
            send(number)


@pytest.mark.parametrize("number", STOPPING[:2])
def test_the_third_signal_is_an_order(number):
    with StopFlag():
        send(number, 2)
        with pytest.raises(KeyboardInterrupt):
            send(number)


def test_what_is_being_written_is_finished_first():
    written = []

    def write(stop: StopFlag) -> None:
        with stop.protected(), stop.protected():
            send(signal.SIGINT, 5)
            written.append("all of it")

    with StopFlag() as stop, pytest.raises(KeyboardInterrupt):
        write(stop)
    assert written == ["all of it"]


@pytest.mark.parametrize("number", STOPPING[2:])
def test_a_scheduler_that_says_it_often_means_it_once(number):
    with StopFlag() as stop:
        send(number, 5)
        with stop.reading():
            assert stop.raised


def test_afterwards_signals_do_what_they_did():
    before = [signal.getsignal(number) for number in STOPPING]
    with StopFlag():
        assert all(signal.getsignal(number) != was for number, was in zip(STOPPING, before))
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_fork_is_not_asked(tmp_path):
    with StopFlag() as stop:
        child = os.fork()
        if not child:
            send(signal.SIGINT, 5)
            os._exit(7 if not stop.raised else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_another_thread_leaves_signals_alone():
    seen = []

    def work():
        with StopFlag() as stop:
            seen.append((signal.getsignal(signal.SIGINT), stop.raised))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(signal.getsignal(signal.SIGINT), False)]
