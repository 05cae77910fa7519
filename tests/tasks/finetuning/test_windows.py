"""Windows lose no token and no word, and each belongs to the one with most context around it."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from electra.tasks.finetuning.windows import cut_context, cut_sentence


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 900), st.integers(1, 500))
def test_windows_cover_a_context_and_share_it_out(count: int, room: int) -> None:
    windows = cut_context(count, room)
    assert windows[0][0] == 0 and windows[-1][1] == count
    assert all(last - first <= room for first, last, _, _ in windows)
    for before, after in pairwise(windows):
        assert 0 < after[0] - before[0] <= 128
        assert after[0] - before[0] == 128 or before[1] - after[0] in (30, room - room // 2, room - 1)
    assert all(before[1] < count for before in windows[:-1]), "no window after the end is reached"
    assert [token for _, _, own, after in windows for token in range(own, after)] == list(range(count))
    for first, last, own, after in windows:
        for token in range(own, after):
            score = lambda a, b, at=token: min(at - a, b - 1 - at) + 0.01 * (b - a)  # noqa: E731
            assert score(first, last) == max(score(a, b) for a, b, _, _ in windows if a <= token < b)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 40))
def test_each_word_is_predicted_once_where_the_nearest_cut_is_farthest(sizes: list[int], room: int) -> None:
    sizes = [min(size, room) for size in sizes]
    before = [sum(sizes[:word]) for word in range(len(sizes) + 1)]
    windows = cut_sentence(before, room)
    assert sorted(word for _, _, owned in windows for word in owned) == list(range(len(sizes)))
    if sum(sizes) <= room:
        assert windows == [(0, len(sizes), list(range(len(sizes))))]

    def to_cut(word: int, first: int, last: int) -> float:
        left = sum(sizes[first:word]) if first else float("inf")
        return min(left, sum(sizes[word + 1 : last]) if last < len(sizes) else float("inf"))

    for first, last, owned in windows:
        assert sum(sizes[first:last]) <= room and all(first <= word < last for word in owned)
        for word in owned:
            inside = [(a, b) for a, b, _ in windows if a <= word < b]
            assert to_cut(word, first, last) == max(to_cut(word, a, b) for a, b in inside)


def test_words_of_a_long_sentence_have_context_on_both_sides() -> None:
    for first, last, owned in cut_sentence(range(1001), 126):
        assert min(owned) - first >= 31 or first == 0
        assert last - 1 - max(owned) >= 31 or last == 1000
