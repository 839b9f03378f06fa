// Answers questions about one GGUF vocabulary with llama.cpp's own code; see make_vectors.py.
//
// Usage: probe FILE.gguf; one request a line on standard input, one line of answer each:
//   flags                   add_bos add_eos
//   regexes                 the pre-tokenizer's regular expressions, hexadecimal
//   split TEXT              lengths of the words in code points
//   encode SPECIAL PARSE TEXT   token ids
//   piece ID                bytes (hexadecimal) and attribute bits of a token
// TEXT is hexadecimal UTF-8, SPECIAL and PARSE are 0 or 1.

#include "llama-vocab.cpp"

#include <iostream>
#include <sstream>

extern "C" int32_t llama_split_path(char *, size_t, const char *, int32_t, int32_t) { return 0; }
extern "C" int32_t llama_split_prefix(char *, size_t, const char *, int32_t, int32_t) { return 0; }

static std::string from_hex(const std::string & digits) {
    std::string raw;
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
        raw.push_back((char) std::stoi(digits.substr(i, 2), nullptr, 16));
    }
    return raw;
}

static std::string to_hex(const std::string & raw) {
    std::ostringstream digits;
    for (unsigned char byte : raw) {
        digits << "0123456789abcdef"[byte >> 4] << "0123456789abcdef"[byte & 15];
    }
    return digits.str();
}

int main(int, char ** arguments) {
    std::vector<std::string> splits;
    llama_model_loader loader(nullptr, nullptr, nullptr, arguments[1], splits, nullptr, (llama_load_mode) 0, false, true,
                              false, nullptr, nullptr);
    std::string architecture;
    loader.get_key(std::string("general.architecture"), architecture, false);
    llama_vocab vocab;
    vocab.load(loader, LLM_KV(llm_arch_from_string(architecture)));
    const llm_tokenizer_bpe words(vocab);
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream request(line);
        std::string verb, text;
        request >> verb;
        std::ostringstream answer;
        if (verb == "flags") {
            answer << vocab.get_add_bos() << " " << vocab.get_add_eos();
        } else if (verb == "regexes") {
            for (const auto & regex : words.regex_exprs) {
                answer << " " << to_hex(regex);
            }
        } else if (verb == "split") {
            request >> text;
            for (const auto & word : unicode_regex_split(from_hex(text), words.regex_exprs, false)) {
                if (!word.empty()) {
                    answer << " " << unicode_cpts_from_utf8(word).size();
                }
            }
        } else if (verb == "encode") {
            bool add_special, parse_special;
            request >> add_special >> parse_special >> text;
            for (auto id : vocab.tokenize(from_hex(text), add_special, parse_special)) {
                answer << " " << id;
            }
        } else {
            int id;
            request >> id;
            char buffer[4096];
            const int length = vocab.token_to_piece(id, buffer, sizeof buffer, 0, false);
            answer << "=" << to_hex(std::string(buffer, length)) << " " << (int) vocab.token_get_attr(id);
        }
        std::cout << answer.str() << std::endl;
    }
}
