import torch

from hyperderm.learners.randomness import generator, rows


def test_shares_of_any_number_of_workers_are_the_whole():
    whole = rows(0, "noise", 8, 12, (3,), slice(0, 12), normal=True)
    for workers in (2, 3, 4):
        each = 12 // workers
        parts = [rows(0, "noise", 8, 12, (3,), slice(r * each, (r + 1) * each), normal=True) for r in range(workers)]
        assert torch.equal(torch.cat(parts), whole)


def test_every_part_of_the_key_matters():
    keys = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a/1", 0), (10, "a", 0)]
    draws = [float(torch.rand((), generator=generator(*key), dtype=torch.float64)) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws[0] == float(torch.rand((), generator=generator(0, "a", 0), dtype=torch.float64))
