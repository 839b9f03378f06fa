/* A gated recurrent cell with an interface of its own: no model file, no tokens, no heads; the state stays in place.
 *
 *   clang --target=wasm32 -O2 -nostdlib -fno-builtin -Wl,--no-entry -Wl,--strip-all -o cell.wasm cell.c
 *   the same with -DLATE_RESET -o late.wasm: the last rows of the candidate read the state before it is reset
 *   the same with -O3 -msimd128 -ffast-math -o fast.wasm: sums in another order
 */

#define IN 20
#define STATE 36

static struct {
    float input[3 * STATE][IN];
    float recurrent[3 * STATE][STATE];
    float bias[3 * STATE];
} weights;
static float x[IN], state[STATE], reset_state[STATE];
static float update[STATE], reset[STATE], candidate[STATE];

static float squash(float v) { return 0.5f + 0.5f * (v / (1.0f + __builtin_fabsf(v))); }

static float row(int r, const float *h) {
    float sum = 0.0f;
    for (int i = 0; i < IN; i++) sum += weights.input[r][i] * x[i];
    float other = 0.0f;
    for (int i = 0; i < STATE; i++) other += weights.recurrent[r][i] * h[i];
    return sum + other + weights.bias[r];
}

__attribute__((export_name("w"))) void *weights_at(void) { return &weights; }
__attribute__((export_name("x"))) void *input_at(void) { return x; }

__attribute__((export_name("tick"))) float tick(void) {
    for (int i = 0; i < STATE; i++) update[i] = squash(row(i, state));
    for (int i = 0; i < STATE; i++) reset[i] = squash(row(STATE + i, state));
    for (int i = 0; i < STATE; i++) reset_state[i] = reset[i] * state[i];
    for (int i = 0; i < STATE; i++) {
#ifdef LATE_RESET
        const float *h = i >= STATE - 4 ? state : reset_state;
#else
        const float *h = reset_state;
#endif
        float v = row(2 * STATE + i, h);
        candidate[i] = v / (1.0f + __builtin_fabsf(v));
    }
    float sum = 0.0f;
    for (int i = 0; i < STATE; i++) {
        state[i] = (1.0f - update[i]) * state[i] + update[i] * candidate[i];
        sum += state[i];
    }
    return sum;
}
