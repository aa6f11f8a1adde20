import threading

from edge_perception.core.mailbox import Mailbox


def test_newest_wins_and_the_others_are_counted():
    mailbox = Mailbox()
    for item in range(3):
        mailbox.put(item)
    assert mailbox.get() == 2
    assert mailbox.dropped == 2


def test_get_times_out_empty():
    assert Mailbox().get(timeout_s=0.0) is None


def test_close_wakes_a_waiting_reader_and_ignores_what_follows():
    mailbox = Mailbox()
    taken = []
    reader = threading.Thread(target=lambda: taken.append(mailbox.get()))
    reader.start()
    mailbox.close()
    reader.join(timeout=60.0)
    assert taken == [None]
    mailbox.put(1)
    assert mailbox.get(timeout_s=0.0) is None


def test_every_item_is_read_or_counted():
    mailbox, read = Mailbox(), []

    def reader():
        while (item := mailbox.get()) != "last":
            read.append(item)

    thread = threading.Thread(target=reader)
    thread.start()
    for item in range(1000):
        mailbox.put(item)
    while True:  # "last" itself must not be overwritten
        mailbox.put("last")
        thread.join(timeout=60.0)
        if not thread.is_alive():
            break
    assert len(read) + mailbox.dropped == 1000
    assert read == sorted(read)


def test_a_deeper_mailbox_gives_the_oldest_first_and_drops_the_oldest():
    mailbox = Mailbox()
    for item in range(4):
        mailbox.put(item, depth=2)
    assert [mailbox.get(), mailbox.get()] == [2, 3]
    assert mailbox.dropped == 2


def test_back_at_depth_one_only_the_newest_stays():
    mailbox = Mailbox()
    for item in range(2):
        mailbox.put(item, depth=2)
    mailbox.put(2)
    assert mailbox.get() == 2
    assert mailbox.dropped == 2
