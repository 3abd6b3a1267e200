/* The kernel of individuals in C, for comparison: one cell, one strategy, no drop-out.

   Same random words, same tables, same counts as ketacast.simulation.kernel: the benchmark
   checks that they are equal before it compares times. Patients are taken in blocks, so that
   the compiler can vectorise Philox4x32-10 (Salmon et al. 2011). */

#include <stdint.h>
#include <string.h>

#define BLOCK 1024
#define COURSE 1
#define EPISODE 2000

static void fill(int64_t first, int count, uint32_t block, uint32_t k0, uint32_t k1,
                 uint32_t out[4][BLOCK])
{
    uint32_t low = (uint32_t)first, high = (uint32_t)(first >> 32);
    for (int i = 0; i < count; i++) {
        uint32_t c0 = low + (uint32_t)i, c1 = high, c2 = block, c3 = 0, a = k0, b = k1;
        for (int r = 0; r < 10; r++) {
            uint64_t p = (uint64_t)c0 * 0xD2511F53u, q = (uint64_t)c2 * 0xCD9E8D57u;
            c0 = (uint32_t)(q >> 32) ^ c1 ^ a;
            c2 = (uint32_t)(p >> 32) ^ c3 ^ b;
            c1 = (uint32_t)q;
            c3 = (uint32_t)p;
            a += 0x9E3779B9u;
            b += 0xBB67AE85u;
        }
        out[0][i] = c0; out[1][i] = c1; out[2][i] = c2; out[3][i] = c3;
    }
}

/* cuts: K x 2 x Q; target, leaves: K x J x 3; survival: 3 x O x H; seen: K x J x 3 x 2;
   kept: E x 2 x 2 x (H + 1); lost: E x 2 x 2 x H. */
void simulate(int64_t low, int64_t high, uint32_t seed, uint32_t draw, int K, int J, int Q, int O,
              int H, int shift, int maintained, const uint32_t *cuts, const int32_t *target,
              const uint8_t *leaves, const double *survival, const int32_t *offset,
              const int32_t *week, int64_t *seen, int64_t *kept, int64_t *lost)
{
    static _Thread_local uint32_t words[4][BLOCK];
    static _Thread_local uint32_t kind[BLOCK];
    static _Thread_local int32_t state[BLOCK], exits[BLOCK], chosen[BLOCK];
    static _Thread_local uint8_t letters[32][BLOCK];
    for (int64_t at = low; at < high; at += BLOCK) {
        int count = high - at < BLOCK ? (int)(high - at) : BLOCK;
        fill(at, count, 0, seed, draw, words);
        for (int i = 0; i < count; i++) kind[i] = words[0][i] >> shift;
        for (int k = 0; k < K; k++) {
            if (k % 4 == 0) fill(at, count, COURSE + k / 4, seed, draw, words);
            const uint32_t *some = cuts + (int64_t)(2 * k) * Q, *best = some + Q;
            const uint32_t *own = words[k % 4];
            for (int i = 0; i < count; i++)
                letters[k][i] = (uint8_t)((own[i] < some[kind[i]]) + (own[i] < best[kind[i]]));
        }
        memset(state, 0, sizeof state);
        memset(exits, 0, sizeof exits);
        for (int k = 0; k < K; k++) {
            const uint8_t *marked = leaves + (int64_t)k * J * 3;
            const int32_t *next = target + (int64_t)k * J * 3;
            int64_t *counts = seen + (int64_t)k * J * 6;
            int any = 0;
            for (int j = 0; j < 3 * J; j++) any |= marked[j];
            if (any)
                for (int i = 0; i < count; i++) {
                    int one = letters[k][i], code = (2 * k + one + 1) * (one > 0);
                    exits[i] = marked[state[i] * 3 + one] ? code : exits[i];
                }
            for (int i = 0; i < count; i++) {
                int place = state[i] * 3 + letters[k][i];
                counts[2 * place]++;
                state[i] = next[place];
            }
        }
        fill(at, count, EPISODE, seed, draw, words);
        int size = 0;
        for (int i = 0; i < count; i++) {
            chosen[size] = i;
            size += exits[i] != 0;
        }
        for (int j = 0; j < size; j++) {
            int i = chosen[j], entry = (exits[i] - 2) >> 1, letter = exits[i] & 1;
            if (week[entry] > H) continue;
            int first = week[entry] - 1, available = H - first, age = 0, left = available;
            const double *table = survival
                + ((int64_t)(maintained ? 1 + letter : 0) * O + offset[entry]) * H;
            double value = (words[0][i] + 0.5) * 2.3283064365386963e-10;
            while (left > 1) {
                int half = left >> 1;
                age += half * (table[age + half - 1] > value);
                left -= half;
            }
            age += table[age] > value;
            int64_t *cared = kept + ((int64_t)(entry * 2 + letter) * 2 + 1) * (H + 1);
            int64_t *alone = cared - (H + 1);
            cared[first]++;
            cared[first + age]--;
            alone[first + age]++;
            alone[first + age]--;
            if (age < available)
                lost[((int64_t)(entry * 2 + letter) * 2 + 1) * H + first + age]++;
        }
    }
}
