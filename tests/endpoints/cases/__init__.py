"""The table: one module for each provider or program."""

from tests.endpoints.case import Provider
from tests.endpoints.cases.anthropic import ANTHROPIC
from tests.endpoints.cases.azure import AZURE
from tests.endpoints.cases.cerebras import CEREBRAS
from tests.endpoints.cases.cohere import COHERE
from tests.endpoints.cases.dashscope import DASHSCOPE
from tests.endpoints.cases.deepseek import DEEPSEEK
from tests.endpoints.cases.fireworks import FIREWORKS
from tests.endpoints.cases.gemini import GEMINI
from tests.endpoints.cases.groq import GROQ
from tests.endpoints.cases.jina import JINA
from tests.endpoints.cases.litellm import LITELLM
from tests.endpoints.cases.llama_cpp import LLAMA_CPP
from tests.endpoints.cases.lm_studio import LM_STUDIO
from tests.endpoints.cases.mistral import MISTRAL
from tests.endpoints.cases.moonshot import MOONSHOT
from tests.endpoints.cases.network import NETWORK
from tests.endpoints.cases.ollama import OLLAMA
from tests.endpoints.cases.openai import OPENAI
from tests.endpoints.cases.openrouter import OPENROUTER
from tests.endpoints.cases.other import OTHER
from tests.endpoints.cases.tei import TEI
from tests.endpoints.cases.together import TOGETHER
from tests.endpoints.cases.vllm import VLLM
from tests.endpoints.cases.xai import XAI
from tests.endpoints.cases.zhipu import ZHIPU

PROVIDERS: tuple[Provider, ...] = (
    OPENAI,
    AZURE,
    GEMINI,
    ANTHROPIC,
    MISTRAL,
    COHERE,
    XAI,
    GROQ,
    CEREBRAS,
    TOGETHER,
    FIREWORKS,
    DEEPSEEK,
    MOONSHOT,
    ZHIPU,
    DASHSCOPE,
    OPENROUTER,
    LITELLM,
    OLLAMA,
    VLLM,
    LLAMA_CPP,
    LM_STUDIO,
    TEI,
    JINA,
    NETWORK,
    OTHER,
)
