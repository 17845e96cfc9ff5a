"""llama.cpp for check_gguf.py, by whichever of its Python packages is installed: llama-cpp-python or cyllama.

A runtime tokenizes without adding a BOS, and answers log-probs of every position, the first half of the ids read at once and
the rest one by one from its cache. Keys and values are kept in f32: f16, which is llama.cpp's default, is no property of
the file.
"""

import numpy as np

# ggml's number for f32.
F32 = 0
CONTEXT = 512


class LlamaCppPython:
    """Built from source by pip: several minutes."""

    def __init__(self, file, threads):
        import llama_cpp

        self.library = llama_cpp
        self.llama = llama_cpp.Llama(
            str(file), n_ctx=CONTEXT, logits_all=True, type_k=F32, type_v=F32, verbose=False,
            n_threads=threads, n_threads_batch=threads,
        )
        self.vocab = llama_cpp.llama_model_get_vocab(self.llama.model)
        self.size = self.llama.n_vocab()

    def tokenize(self, text):
        return self.llama.tokenize(text.encode(), add_bos=False, special=True)

    def ends_text(self, token):
        return bool(self.library.llama_vocab_is_eog(self.vocab, token))

    def adds_bos(self):
        return bool(self.library.llama_vocab_get_add_bos(self.vocab))

    def logits(self, ids):
        self.llama.reset()
        half = len(ids) // 2
        self.llama.eval(ids[:half])
        for token in ids[half:]:
            self.llama.eval([token])
        return np.array(self.llama.scores[: len(ids)], np.float32)


class Cyllama:
    """Has wheels, but pins no version of llama.cpp that llama-cpp-python has."""

    def __init__(self, file, threads):
        from cyllama.llama import llama_cpp

        llama_cpp.disable_logging()
        llama_cpp.ggml_backend_load_all()
        # Reading rows asks the model for n_vocab, which 0.2.18 forgot.
        class Model(llama_cpp.LlamaModel):
            n_vocab = property(lambda model: model.get_vocab().n_vocab)

        self.library = llama_cpp
        self.model = Model(str(file), llama_cpp.LlamaModelParams(), verbose=False)
        params = llama_cpp.LlamaContextParams()
        params.n_ctx = params.n_batch = params.n_ubatch = CONTEXT
        params.type_k = params.type_v = F32
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.LlamaContext(self.model, params, verbose=False)
        self.vocab = self.model.get_vocab()
        self.size = self.vocab.n_vocab

    def tokenize(self, text):
        return list(self.vocab.tokenize(text, False, True))

    def ends_text(self, token):
        return bool(self.vocab.is_eog(token))

    def adds_bos(self):
        return bool(self.vocab.get_add_bos())

    def logits(self, ids):
        self.context.kv_cache_clear()
        half = len(ids) // 2
        rows = []
        for start, tokens in [(0, ids[:half]), *((i, ids[i : i + 1]) for i in range(half, len(ids)))]:
            batch = self.library.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1)
            for i, token in enumerate(tokens):
                batch.add(token, start + i, [0], True)
            self.context.decode(batch)
            rows += [np.array(self.context.get_logits_ith(i), np.float32) for i in range(len(tokens))]
        return np.stack(rows)


RUNTIMES = {"llama-cpp-python": ("llama_cpp", LlamaCppPython), "cyllama": ("cyllama", Cyllama)}
