"""The worker of seven.yaml: `harpoon worker seven` in this directory.

harpoon apply -f seven.yaml
harpoon run start seven --wait                          # {"made": "g(e(c(a)d(ab))f(b))"}
harpoon run start seven --wait --set 'fails={"a": 1}'   # a is tried twice
harpoon run start seven --wait --set 'fails={"b": 1}'   # b fails, and d, e, f and g never run; a and c do
"""

from collections.abc import Mapping, Sequence

from harpoon.worker import Context, Retry, Worker

app = Worker("seven")


@app.handler("seven.node")
async def node(ctx: Context, fails: Mapping[str, int], of: Sequence[str] = ()) -> str:
    if ctx.attempt <= fails.get(ctx.op, 0):
        raise Retry(f"{ctx.op} was told to fail {fails[ctx.op]} times")
    return f"{ctx.op}({''.join(of)})" if of else ctx.op
