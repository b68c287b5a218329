"""How many bytes are held for later."""

from server.protocol.budget import ByteBudget, ByteShare, too_many_bytes


class TestByteBudget:
    """One node's, by caller."""

    def test_it_holds_as_much_as_its_limit(self) -> None:
        budget = ByteBudget(100)
        assert [budget.take(caller, 40) for caller in "abc"] == [True, True, False]
        assert budget.held == 80

    def test_a_caller_has_half_of_it(self) -> None:
        budget = ByteBudget(100)
        assert [budget.take("a", 30), budget.take("a", 30), budget.take("b", 30)] == [True, False, True]

    def test_a_first_message_may_be_longer_than_half(self) -> None:
        budget = ByteBudget(100)
        assert [budget.take("a", 90), budget.take("b", 20)] == [True, False]

    def test_what_is_given_back_can_be_taken_again(self) -> None:
        budget = ByteBudget(100)
        budget.take("a", 50)
        budget.give_back("a", 50)
        assert (budget.held, budget.by_caller) == (0, {})
        assert budget.take("a", 50)


class TestByteShare:
    """One holder's."""

    def test_a_single_message_may_be_longer_than_the_share(self) -> None:
        share = ByteShare(10)
        assert [share.take(50), share.take(1)] == [True, False]

    def test_the_budget_behind_it_counts_too(self) -> None:
        budget = ByteBudget(100)
        one, other = (ByteShare(1000, budget, caller) for caller in "ab")
        assert [one.take(80), other.take(30), other.take(20)] == [True, False, True]
        assert (one.held, other.held, budget.held) == (80, 20, 100)

    def test_closing_gives_all_back_once(self) -> None:
        budget = ByteBudget(100)
        share = ByteShare(1000, budget, "a")
        share.take(80)
        share.close()
        share.close()
        assert (share.held, budget.held, budget.by_caller) == (0, 0, {})


def test_clients_are_told_to_come_again() -> None:
    error = too_many_bytes()
    assert (error.status, error.code, error.headers) == (429, "rate_limit_exceeded", {"retry-after": "1"})
