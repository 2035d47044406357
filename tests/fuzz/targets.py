"""All targets, by name."""

from tests.fuzz import answers, configs, logs, orders, requests, wire

TARGETS = {
    target.name: target
    for target in (
        configs.CONFIG,
        configs.PREFIXES,
        wire.SSE,
        wire.PEEK,
        wire.HEADERS,
        logs.REDACTOR,
        answers.ANSWER,
        requests.REQUEST,
        orders.INTERLEAVINGS,
        orders.DATA_PLANE,
    )
}
