"""Alibaba's DashScope (Qwen): few texts in one embedding request, and an inspection of every input."""

from tests.endpoints.case import (
    Case,
    FailsAlone,
    Fills,
    Provider,
    Rule,
    Stops,
    always,
    openai_error,
    texts_above,
    unwelcome,
)

DASHSCOPE_ERRORS = "https://www.alibabacloud.com/help/en/model-studio/error-code"


DASHSCOPE = Provider(
    "Alibaba DashScope (Qwen)",
    "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    (
        Case(
            "takes 10 texts in one embedding request",
            "https://github.com/memodb-io/memobase/issues/142",
            (
                Rule(
                    texts_above(10),
                    openai_error(
                        400,
                        "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it "
                        "should not be larger than 10.: input.contents",
                        "InvalidParameter",
                        "InvalidParameter",
                    ),
                ),
            ),
            Fills(more_requests=7),
        ),
        Case(
            "refuses one title (400 `data_inspection_failed`)",
            DASHSCOPE_ERRORS,
            (
                Rule(
                    unwelcome,
                    openai_error(
                        400,
                        "Input data may contain inappropriate content.",
                        "data_inspection_failed",
                        "data_inspection_failed",
                    ),
                ),
            ),
            FailsAlone("may contain inappropriate content"),
        ),
        Case(
            "is owed money (400 `Arrearage`)",
            DASHSCOPE_ERRORS,
            (
                Rule(
                    always,
                    openai_error(
                        400,
                        "Access denied, please make sure your account is in good standing.",
                        "Arrearage",
                        "Arrearage",
                    ),
                ),
            ),
            Stops("make sure your account is in good standing"),
        ),
    ),
)
