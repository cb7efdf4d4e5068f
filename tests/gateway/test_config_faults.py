"""All that can be wrong with a gateway's file, with its lines, and at once."""

from collections.abc import Mapping

import pytest

from cachemw.errors import ConfigurationFaults
from tests.gateway.configuring import config_of

FAULTS: Mapping[str, list[str]] = {
    "[route.auto]": ["1: [route]: unknown (is it routes?)"],
    "x = 1\n[routes]\n": ["1: [x]: unknown; there may be serve, providers, targets, routes, models, clients, accounting"],
    "[translation]\n[routes]\n": ["1: [translation]: unknown; there may be"],
    "routes = 1": ["1: [routes]: an integer is no table"],
    "[[routes]]": ["1: [routes]: an array is no table"],
    "[routes]\nauto = 'a/b'": ["2: [routes.auto]: a string is no table"],
    # providers
    "[providers.acme]": ["1: [providers.acme]: no provider of this name is known, so give its base_url"],
    "[providers.cerebra]": ["1: [providers.cerebra]: no provider of this name is known (is it cerebras?)"],
    "[providers.'a/b']\nbase_url = 'http://x/v1'": ['1: [providers."a/b"]: the name of a provider has letters'],
    "[providers.a]\nbase_url = 'x/v1'": ["2: base_url in [providers.a]: a base URL is http or https, without credentials"],
    "[providers.a]\nbase_url = 'https://u:p@x/v1'": ["2: base_url in [providers.a]: a base URL is http"],
    "[providers.a]\nbase_url = 'https://x/v1?key=y'": ["2: base_url in [providers.a]: a base URL is http"],
    "[providers.a]\nbase_url = 1": ["2: base_url in [providers.a]: a base URL is http"],
    "[providers.groq]\nkey_env = 'MY KEY'": ["2: key_env in [providers.groq]: it is the name of a variable"],
    "[providers.groq]\nkey_env = []": ["2: key_env in [providers.groq]: it is the name of a variable"],
    "[providers.groq]\nkey_env = 'A'\nkey_file = '/b'": ["1: [providers.groq]: its key is in one place"],
    "[providers.groq]\nkey_file = ''": ["2: key_file in [providers.groq]: a string is not a string"],
    "[providers.groq]\nkey = 'x'": ["2: key in [providers.groq]: no key stands in this file"],
    "[providers.groq]\nApi_Key = 'x'": ["2: Api_Key in [providers.groq]: no key stands in this file"],
    "[providers.groq]\nbase_ulr = 'x'": ["2: base_ulr in [providers.groq]: unknown (is it base_url?)"],
    "[providers.groq]\nheaders = {}": ["2: headers in [providers.groq]: unknown; there may be base_url, key_env, key_file"],
    "[providers.b]\nbase_url = 'https://api.groq.com/openai/v1'": [
        "1: [providers.b]: groq takes a key: give key_env, or key_f"
    ],
    # routes
    "[routes.a]": ['1: [routes.a]: it has no targets, as in targets = ["cerebras/gpt-oss-120b"]'],
    "[routes.a]\ntargets = []": ["2: targets in [routes.a]: it is empty: a route has a target at least"],
    "[routes.a]\ntargets = 'xai/grok'": ["2: targets in [routes.a]: 'xai/grok' is not a list of targets"],
    "[routes.a]\ntargets = ['xai/grok', 1]": ['2: targets in [routes.a]: a target is "provider/model", or { name ='],
    "[routes.a]\ntargets = [{ name = 'xai/a', wait = 1 }]": ['2: targets in [routes.a]: a target is "provider/model", or'],
    "[routes.a]\ntargets = [{ name = 'xai/a', weight = 0 }]": ["2: targets in [routes.a]: a weight is a number, more than 0"],
    "[routes.a]\ntargets = [{ name = 'xai/a', weight = '1' }]": ["2: targets in [routes.a]: a weight is a number, more th"],
    "[routes.a]\ntargets = ['acme/x']": ["2: targets in [routes.a]: no provider is called 'acme'; there are anthropic, cerebr"],
    "[routes.a]\ntargets = ['grok/x']": ["2: targets in [routes.a]: no provider is called 'grok' (is it groq?)"],
    "[routes.a]\ntargets = ['gpt-4o']": ["2: targets in [routes.a]: 'gpt-4o' names no provider: a target is provider/model"],
    "[routes.a]\ntargets = ['xai/']": ["2: targets in [routes.a]: 'xai/' is no target: a model is printable ASCII"],
    "[routes.a]\ntargets = ['xai/x']\n[routes.b]\ntargets = ['a']": [
        "4: targets in [routes.b]: 'a' is a route, and what stands here is a target"
    ],
    "[routes.a]\ntargets = ['a']": ["2: targets in [routes.a]: 'a' is a route"],
    "[routes.a]\ntargets = ['xai/x', 'xai/x']": ["2: targets in [routes.a]: 'xai/x' stands there twice"],
    "[routes.a]\ntargets = ['xai/x']\nspares = [\n'xai/y', 'xai/y', 'xai/x']": [
        "3: spares in [routes.a]: 'xai/y' stands there twice",
        "3: spares in [routes.a]: 'xai/x' is among the targets already",
    ],
    "[routes.a]\ntargets = ['xai/x']\nspares = [{ name = 'xai/y' }]": ["3: spares in [routes.a]: an array with something else"],
    "[routes.a]\ntargets = ['xai/x']\nspares = 'xai/y'": ["3: spares in [routes.a]: 'xai/y' is not a list of strings"],
    "[routes.a]\ntargets = ['xai/x']\npick = 'fast'": [
        "3: pick in [routes.a]: 'fast' is not one of first, cheapest, fastest, w"
    ],
    "[routes.a]\ntargets = ['xai/x']\npick = ['first']": ["3: pick in [routes.a]: an array is not one of first"],
    "[routes.a]\ntargets = ['xai/x']\non_refusal = 'go'": ["3: on_refusal in [routes.a]: 'go' is not one of stop, next"],
    "[routes.a]\ntargets = ['xai/x']\nfirst_token = 0": [
        "3: first_token in [routes.a]: 0 is not a number of seconds, more than 0"
    ],
    "[routes.a]\ntargets = ['xai/x']\nfirst_token = true": ["3: first_token in [routes.a]: a boolean is not a number of seco"],
    "[routes.a]\ntargets = ['xai/x']\nanswer = inf": ["3: answer in [routes.a]: inf is not a number of seconds"],
    "[routes.a]\ntargets = ['xai/x']\nanswer = nan": ["3: answer in [routes.a]: nan is not a number of seconds"],
    f"[routes.a]\ntargets = ['xai/x']\nanswer = 0x{'f' * 9_000}": ["3: answer in [routes.a]: an integer is not a number of s"],
    "[routes.a]\ntargets = ['xai/x']\nhedge = 1": ["3: hedge in [routes.a]: an integer is no table"],
    "[routes.a]\ntargets = ['xai/x']\nhedge = {}": ["3: hedge in [routes.a]: after is missing: seconds, or a percentile"],
    "[routes.a]\ntargets = ['xai/x']\nhedge = { after = 'p42' }": [
        "3: hedge.after in [routes.a]: 'p42' is not a number of seco"
    ],
    "[routes.a]\ntargets = ['xai/x']\nhedge.after = -1": ["3: hedge.after in [routes.a]: -1 is not a number of seconds, 0 at"],
    "[routes.a]\ntargets = ['xai/x']\n[routes.a.hedge]\nafter = 1\nextra = 5": [
        "5: hedge.extra in [routes.a]: 5 is not a share"
    ],
    "[routes.a]\ntargets = ['xai/x']\ntimeout = 1": [
        "3: timeout in [routes.a]: unknown; there may be targets, spares, pick, he"
    ],
    "[routes.'xai/x']\ntargets = ['xai/y']": ['1: [routes."xai/x"]: what begins with xai/ is a target\'s name'],
    "[routes.'a b']\ntargets = ['xai/x']": ['1: [routes."a b"]: a name is printable ASCII'],
    "[routes.'']\ntargets = ['xai/x']": ['1: [routes.""]: a name is printable ASCII'],
    # targets
    "[targets.gpt]": ["1: [targets.gpt]: 'gpt' names no provider"],
    "[targets.'xai/x']\nset.model = 'y'": ['2: set.model in [targets."xai/x"]: it cannot be set: cachemw itself writes the mo'],
    "[targets.'xai/x']\nset = { messages = [], stream = true, stream_options = {} }": [
        '2: set.messages in [targets."xai/x"]: it cannot be set: the messages are the',
        '2: set.stream in [targets."xai/x"]: it cannot be set: whether it is a stream',
        '2: set.stream_options in [targets."xai/x"]: it cannot be set: how its stream ends',
    ],
    "[targets.'xai/x']\ndrop = ['model', 'stream']": [
        '2: drop in [targets."xai/x"]: model cannot be dropped: cachemw itself',
        '2: drop in [targets."xai/x"]: stream cannot be dropped',
    ],
    "[targets.'xai/x']\ndrop = ['user']\nset = { user = 1 }": ["2: drop in [targets.\"xai/x\"]: 'user' is set, and dropped"],
    "[targets.'xai/x']\nset.a = [2027-01-01]": ['2: set.a in [targets."xai/x"]: a date or a time is nothing of JSON'],
    "[targets.'xai/x']\nset.a = { b = inf }": ['2: set.a in [targets."xai/x"]: JSON has no such number'],
    "[targets.'xai/x']\nset.a = 36893488147419103232": ['2: set.a in [targets."xai/x"]: JSON has no such number'],
    "[targets.'xai/x']\nset = 1": ['2: set in [targets."xai/x"]: an integer is no table'],
    "[targets.'xai/x']\ncontext = 0": ['2: context in [targets."xai/x"]: 0 is not a whole number, 1 at least'],
    "[targets.'xai/x']\nprices = { input = 1 }": ['2: prices in [targets."xai/x"]: output is missing: prices are dollars'],
    "[targets.'xai/x']\nprices = { input = -1, output = nan, cached = '1' }": [
        '2: prices.input in [targets."xai/x"]: -1 is not a number of dollars, from 0 to',
        '2: prices.output in [targets."xai/x"]: nan is not a number of dollars',
        "2: prices.cached in [targets.\"xai/x\"]: '1' is not a number of dollars",
    ],
    "[targets.'xai/x']\nprice = {}": ['2: price in [targets."xai/x"]: unknown (is it prices?)'],
    # clients
    "[clients.a]": ["1: [clients.a]: it has no key: give key_env or key_sha256, or a line in the file of client keys"],
    "[clients.filed]\nkey_env = 'A'": ["1: [clients.filed]: its key stands in the file of client keys too: leave key_env out"],
    "[clients.'a b']\nkey_env = 'A'": ['1: [clients."a b"]: the name of a client has 1 to 64 letters'],
    "[clients.a]\nkey_env = ['A', 'B']": ["2: key_env in [clients.a]: a client's key is in one variable"],
    "[clients.a]\nkey_env = 'A'\nkey_sha256 = 'B'": [
        "1: [clients.a]: its key is in one place: give key_env or key_sha256",
        "3: key_sha256 in [clients.a]: it is the SHA-256 of a key: 64 hexadecimal digits",
    ],
    "[clients.a]\nkey_env = 'A'\n[clients.b]\nkey_env = 'A'": ["3: [clients.b]: 'a' has the same key: give each client one of"],
    "[clients.a]\nkey_env = 'A'\nroutes = []": [
        "3: routes in [clients.a]: nothing is left that it may use: without the member"
    ],
    "[clients.a]\nkey_env = 'A'\nroutes = ['auto', 'acme/x']": [
        "3: routes in [clients.a]: no route is called 'auto', and a target is provider/model",
        "3: routes in [clients.a]: no provider is called 'acme'",
    ],
    "[clients.a]\nkey_env = 'A'\nbudget = 5": ["3: budget in [clients.a]: an integer is no table"],
    "[clients.a]\nkey_env = 'A'\nbudget = { usd = -5, per = 'week' }": [
        "3: budget.usd in [clients.a]: -5 is not a number of dollars",
        "3: budget.per in [clients.a]: 'week' is not one of minute, hour, day, month, total",
    ],
    "[clients.a]\nkey_env = 'A'\nbudget = {}": [
        '3: budget in [clients.a]: usd is missing, as in { usd = 25, per = "day" }',
        "3: budget in [clients.a]: per is missing",
    ],
    "[clients.a]\nkey_env = 'A'\nrate = { requests = 1.5, per = 'minute' }": [
        "3: rate.requests in [clients.a]: 1.5 is not a who"
    ],
    "[clients.a]\nkey_env = 'A'\nexpires = '2027-01-01'": ["3: expires in [clients.a]: '2027-01-01' is not a date, as 2027-01"],
    "[clients.a]\nkey_env = 'A'\nexpires = 2027-01-01T00:00:00": ["3: expires in [clients.a]: a date or a time is not a date"],
    # models and accounting
    "[models]\nbig = 'auto'": ["2: big in [models]: no route is called 'auto', and a target is provider/model"],
    "[models]\nbig = 1": ["2: big in [models]: 1 is not a string"],
    "[models]\nbig = 'acme/x'": ["2: big in [models]: no provider is called 'acme'"],
    "[models]\n'xai/x' = 'xai/y'": ['2: "xai/x" in [models]: what begins with xai/ is a target\'s name'],
    "[models]\nb = 'xai/y'\na = 'b'": ["3: a in [models]: no route is called 'b'"],
    "[models]\na = 'xai/y'\n[routes.a]\ntargets = ['xai/y']": ["2: a in [models]: a route has this name already"],
    "[accounting]\non_budget_error = 'ignore'": ["2: on_budget_error in [accounting]: 'ignore' is not one of refuse, allow"],
    "[accounting]\nask_usage = true": ["2: ask_usage in [accounting]: unknown; there may be on_budget_error"],
}


@pytest.mark.parametrize(("text", "told"), FAULTS.items(), ids=[ascii(text)[:60] for text in FAULTS])
def test_what_is_wrong_is_named_with_its_line(text: str, told: list[str]) -> None:
    with pytest.raises(ConfigurationFaults) as refused:
        config_of(text, keyed={"filed"})

    found = refused.value.faults
    assert len(found) == len(told), found
    for fault, beginning in zip(found, told, strict=True):
        assert fault.startswith(f"F:{beginning}")


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    texts = [text for text in FAULTS if text.startswith("[routes.a]\n") and "0x" not in text]
    text = "\n".join(text.replace("routes.a", f"routes.r{number}") for number, text in enumerate(texts))

    with pytest.raises(ConfigurationFaults) as refused:
        config_of(text)

    lines = [int(fault.split(":")[1]) for fault in refused.value.faults]
    assert len(lines) >= len(texts)
    assert lines == sorted(lines)
    assert str(refused.value) == "\n".join(refused.value.faults)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[routes", "F is not TOML: "),
        ("[routes.a]\ntargets = []\ntargets = []\n", "F is not TOML: Cannot overwrite a value (at line 3, column 13)"),
        ("a = " + "[" * 100_000, "F is not TOML that we read: it is nested too deeply"),
        (f"a = {'9' * 5_000}", "F is not TOML: Exceeds the limit"),
    ],
    ids=["cut", "twice", "deep", "long"],
)
def test_what_is_no_toml_is_told_where_the_parser_stopped(text: str, told: str) -> None:
    with pytest.raises(ConfigurationFaults) as refused:
        config_of(text)

    (fault,) = refused.value.faults
    assert fault.startswith(told)
