"""Price what the ledger has no cost of, as it is read: the answers of lone upstreams, by the tables of prices."""

from msgspec.structs import replace

from cachemw.gateway.price_tables import PriceTables
from cachemw.ledger.keys import KeysBy, KeySums, keys
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import EVERY, Condition
from cachemw.ledger.row import Row
from cachemw.ledger.sums import By, Sums, Use, in_order, sums, uses
from cachemw.messages import Usage
from cachemw.money import Cost, Price, priced
from cachemw.upstreams.providers import PROVIDERS, provider_name

_ENOUGH = 20


def priced_sums(
    reader: LedgerReader, tables: PriceTables, by: By, since: float | None = None, until: float | None = None
) -> list[Sums]:
    """Return the sums as `cachemw.ledger.sums` has them, with a price on what the tables know. Raises `BookError`.

    The tables are of today, and are not read where there is nothing to price.
    """
    to_price = uses(reader, by, since, until)  # first: the sums are then of all of these, whatever is written meanwhile
    found = {summed.name: summed for summed in sums(reader, by, since, until)}
    for use in to_price:
        if use.name in found:
            found[use.name] = _with_use(found[use.name], use, tables)
    return in_order(found.values(), by)


def priced_row(row: Row, tables: PriceTables) -> Row:
    """Return an exchange with what it cost, or saved, by the tables, where the ledger does not say."""
    if row.is_bought and row.cost is None:
        cost = _cost(row, tables)
        return row if cost is None else replace(row, cost=cost.nano, cost_basis=cost.basis, at_least=int(cost.at_least))
    if row.is_answered_here and row.saved is None:
        cost = _cost(row, tables)
        return row if cost is None else replace(row, saved=cost.nano)
    return row


def priced_keys(
    reader: LedgerReader, tables: PriceTables, by: KeysBy, where: Condition = EVERY, *, limit: int = 20
) -> list[KeySums]:
    """Return the keys of which there is most, with a price on what the tables know. Raises `BookError`."""
    if by is not KeysBy.COST:
        return [_priced_key(found, tables) for found in keys(reader, by, where, limit=limit)]
    most = _ENOUGH * limit  # what costs most is among those of most tokens, whether its cost is known or not
    found = {(one.key, one.target): one for order in (by, KeysBy.TOKENS) for one in keys(reader, order, where, limit=most)}
    return sorted((_priced_key(one, tables) for one in found.values()), key=lambda one: -one.cost)[:limit]


def _priced_key(found: KeySums, tables: PriceTables) -> KeySums:
    named = found.key, found.target, found.model
    summed = Sums(found.key, unpriced=found.unpriced)
    if found.unpriced and not found.cost:
        bought = Use(*named, True, found.unpriced, found.input_tokens, found.output_tokens, found.cached_tokens)
        summed = _with_use(summed, bought, tables)
    if not found.saved:
        here = Use(*named, False, found.answered_here, found.saved_input_tokens, found.saved_output_tokens, 0)
        summed = _with_use(summed, here, tables)
    return replace(
        found,
        cost=found.cost + summed.spent,
        saved=found.saved + summed.saved,
        unpriced=summed.unpriced,
        least=found.least + summed.least,
    )


def _with_use(summed: Sums, use: Use, tables: PriceTables) -> Sums:
    """Return sums with a price on what is in them; what no answer says the tokens of stays without one."""
    price = _price(use.target, use.model, tables) if use.input_tokens or use.output_tokens else None
    cost = None if price is None else priced(Usage(use.input_tokens, use.output_tokens, use.cached_tokens), _least(price))
    if cost is None:
        return summed
    if not use.is_bought:
        return replace(summed, saved=summed.saved + cost.nano)
    return replace(
        summed,
        spent=summed.spent + cost.nano,
        unpriced=summed.unpriced - use.count,
        estimated=summed.estimated + use.count,
        least=summed.least + use.count * cost.at_least,
    )


def _least(price: Price) -> Price:
    """Return what the tokens of many requests cost at least: how large each one was, and what was cached anew, is not known."""
    rates = price.rates
    writes_cost_more = rates.cache_write_rate is not None and rates.cache_write_rate > rates.input_rate
    return Price(rates, is_least=price.is_least or bool(price.tiers) or writes_cost_more)


def _cost(row: Row, tables: PriceTables) -> Cost | None:
    price = None if row.input_tokens is None or row.output_tokens is None else _price(row.target, row.model, tables)
    cost = None if price is None else priced(row.usage, price)
    return None if cost is None else Cost(cost.nano, "estimated", cost.at_least)  # nobody knows the tier of service


def _price(target: str, model: str, tables: PriceTables) -> Price | None:
    """Return the price of a target, `provider/model` or the URL of a provider's endpoint; `None` where nobody knows it."""
    if "://" in target:
        known = provider_name(target)
    else:
        known, _, model = target.partition("/")
    return tables.price(known, model) if known in PROVIDERS and model else None
