"""Zhipu (GLM, Z.ai): errors are numbers, often in Chinese."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    changed,
    chat,
    error,
    first,
    texts_above,
    unwelcome,
)

ZHIPU_ERRORS = "https://docs.bigmodel.cn/cn/faq/api-code"


ZHIPU = Provider(
    "Zhipu (GLM, Z.ai)",
    "https://open.bigmodel.cn/api/paas/v4/",
    (
        Case(
            "has no balance left (429 with code 1113)",
            "https://github.com/continuedev/continue/issues/10297",
            (
                Rule(
                    chat,
                    error(429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}),
                ),
            ),
            Stops("余额不足"),
        ),
        Case(
            "has no balance left, in English",
            "https://github.com/zai-org/GLM-5/issues/148",
            (
                Rule(
                    chat,
                    error(
                        429,
                        {
                            "error": {
                                "code": "1113",
                                "message": "Insufficient balance or no resource package. Please recharge.",
                            }
                        },
                    ),
                ),
            ),
            Stops("Insufficient balance or no resource package"),
        ),
        Case(
            "is asked too much at once (429 with code 1302)",
            ZHIPU_ERRORS,
            (
                Rule(
                    first(2),
                    error(
                        429,
                        {"error": {"code": "1302", "message": "您当前使用该API的并发数过高，请降低并发"}},
                    ),
                ),
            ),
            Fills(more_requests=2, warns="并发数过高"),
        ),
        Case(
            "refuses one title (400 with code 1301)",
            ZHIPU_ERRORS,
            (
                Rule(
                    unwelcome,
                    error(
                        400,
                        {
                            "contentFilter": [{"level": 1, "role": "user"}],
                            "error": {"code": "1301", "message": "输入或生成内容可能包含不安全或敏感内容"},
                        },
                    ),
                ),
            ),
            FailsAlone("可能包含不安全或敏感内容"),
        ),
        Case(
            "cuts the answer about one title (`finish_reason: sensitive`)",
            ZHIPU_ERRORS,
            (
                Rule(
                    unwelcome,
                    changed(
                        lambda body: body["choices"][0].update(
                            finish_reason="sensitive", message={"role": "assistant", "content": ""}
                        )
                    ),
                ),
            ),
            FailsAlone("", ("content_filter", "unparsable")),
        ),
        Case(
            "does not know the model (400 with code 1211)",
            ZHIPU_ERRORS,
            (Rule(chat, error(400, {"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}})),),
            Stops("模型不存在"),
        ),
        Case(
            "takes 64 texts in one embedding request (400 with code 1214)",
            "https://docs.bigmodel.cn/api-reference/",
            (
                Rule(
                    texts_above(64),
                    error(400, {"error": {"code": "1214", "message": "input数组最大不得超过64条"}}),
                ),
            ),
            Fills(more_requests=4),
            songs=40,
        ),
    ),
)
