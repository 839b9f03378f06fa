// Let llama.cpp choose tokens through its own samplers, in the order that its command line has by default.
// Reads lines `temperature top_k top_p min_p seed draws size logits...`, the logits as the hex words of their floats;
// writes a line of JSON for each: what is left in the end, its probabilities as hex words, and the tokens of all draws.
// README.md says how to build it.

#include "llama.h"

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

static unsigned word_of(float value) {
    unsigned word;
    std::memcpy(&word, &value, sizeof word);
    return word;
}

int main() {
    double temperature, top_p, min_p;
    int top_k, draws, size;
    unsigned seed;
    while (std::scanf("%lf %d %lf %lf %u %d %d", &temperature, &top_k, &top_p, &min_p, &seed, &draws, &size) == 7) {
        std::vector<float> logits(size);
        for (float & logit : logits) {
            unsigned word;
            if (std::scanf("%x", &word) != 1) return 1;
            std::memcpy(&logit, &word, sizeof word);
        }
        llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_params{true});
        llama_sampler_chain_add(chain, llama_sampler_init_top_k(top_k));
        llama_sampler_chain_add(chain, llama_sampler_init_top_p((float) top_p, 0));
        llama_sampler_chain_add(chain, llama_sampler_init_min_p((float) min_p, 0));
        llama_sampler_chain_add(chain, llama_sampler_init_temp_ext((float) temperature, 0.0f, 1.0f));
        llama_sampler_chain_add(chain, llama_sampler_init_dist(seed));

        std::string tokens;
        std::vector<llama_token_data> data;
        llama_token_data_array left = {};
        for (int draw = 0; draw < draws; draw++) {
            data.clear();
            for (int token = 0; token < size; token++) data.push_back({token, logits[token], 0.0f});
            left = {data.data(), data.size(), -1, false};
            llama_sampler_apply(chain, &left);
            tokens += (draw ? "," : "") + std::to_string(left.data[left.selected].id);
        }
        std::printf("{\"ids\":[");
        for (size_t i = 0; i < left.size; i++) std::printf("%s%d", i ? "," : "", left.data[i].id);
        std::printf("],\"probabilities\":[");
        for (size_t i = 0; i < left.size; i++) std::printf("%s\"%08x\"", i ? "," : "", word_of(left.data[i].p));
        std::printf("],\"tokens\":[%s]}\n", tokens.c_str());
        llama_sampler_free(chain);
    }
    return 0;
}
