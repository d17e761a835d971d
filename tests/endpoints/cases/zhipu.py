"""Zhipu (GLM, Z.ai): errors are numbers, often in Chinese."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    changed,
    error,
    texts_above,
    unwelcome,
)

ZHIPU_ERRORS = "https://docs.bigmodel.cn/cn/faq/api-code"


ZHIPU = Provider(
    "Zhipu (GLM, Z.ai)",
    "https://open.bigmodel.cn/api/paas/v4/",
    (
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
