/* Poseidon over the Goldilocks field, p = 2^64 - 2^32 + 1: what poseidon_plain.py does, compiled.
 *
 * The numbers of poseidon_constants.json are put before this file when it is built: ROUND[118], SPARSE[506],
 * PREPARE[144], CIRCULANT[12] and DIAGONAL[12]. Elements are any 64-bit number until the end, where they are brought below
 * p. Nothing branches on data: on random data half of such branches are predicted wrongly, and cost more than the rest.
 */

typedef unsigned __int128 u128;

#define P 0xffffffff00000001ULL
#define FOLD 0xffffffffULL /* 2^64 modulo p */

/* 2^96 is -1 modulo p. */
static inline uint64_t reduced(u128 x) {
    uint64_t low = (uint64_t)x, high = (uint64_t)(x >> 64);
    uint64_t top = high >> 32, middle = (high & FOLD) * FOLD;
    uint64_t less = low - top;
    less -= FOLD & -(uint64_t)(low < top);
    uint64_t sum = less + middle;
    return sum + (FOLD & -(uint64_t)(sum < middle));
}

static inline uint64_t added(uint64_t x, uint64_t constant) { /* constant below p */
    uint64_t sum = x + constant;
    return sum + (FOLD & -(uint64_t)(sum < constant));
}

static inline uint64_t times(uint64_t x, uint64_t y) { return reduced((u128)x * y); }

static inline uint64_t seventh(uint64_t x) {
    uint64_t square = times(x, x);
    return times(times(square, x), times(square, square));
}

/* Products are summed by halves: twelve of them do not fit into 128 bits. */
static inline uint64_t product(const uint64_t *row, const uint64_t *x, int step) {
    u128 low = 0, high = 0;
    for (int j = 0; j < 12; j++) {
        u128 one = (u128)row[j * step] * x[j];
        low += (uint64_t)one;
        high += (uint64_t)(one >> 64);
    }
    return reduced((u128)reduced(high) * FOLD + low);
}

static void mix(uint64_t *x) {
    uint64_t low[12] = {0}, high[12] = {0};
    for (int j = 0; j < 12; j++)
        for (int i = 0; i < 12; i++) {
            uint64_t small = CIRCULANT[(j - i + 12) % 12];
            low[i] += (x[j] & FOLD) * small;
            high[i] += (x[j] >> 32) * small;
        }
    for (int i = 0; i < 12; i++) {
        u128 own = (u128)DIAGONAL[i] * x[i];
        x[i] = reduced(((u128)high[i] << 32) + low[i] + own);
    }
}

static void prepare(uint64_t *x) {
    uint64_t next[12];
    for (int i = 0; i < 12; i++)
        next[i] = product(PREPARE + i, x, 12);
    for (int i = 0; i < 12; i++)
        x[i] = next[i];
}

static void permute(uint64_t *x) {
    for (int i = 0; i < 12; i++)
        x[i] = added(x[i], ROUND[i]);
    for (int round = 1; round <= 4; round++) {
        for (int i = 0; i < 12; i++)
            x[i] = added(seventh(x[i]), ROUND[12 * round + i]);
        if (round < 4)
            mix(x);
        else
            prepare(x);
    }
    for (int round = 0; round < 22; round++) {
        const uint64_t *row = SPARSE + 23 * round;
        x[0] = added(seventh(x[0]), ROUND[60 + round]);
        uint64_t first = product(row, x, 1);
        for (int i = 1; i < 12; i++)
            x[i] = reduced((u128)row[11 + i] * x[0] + x[i]);
        x[0] = first;
    }
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 12; i++) {
            x[i] = seventh(x[i]);
            if (round < 3)
                x[i] = added(x[i], ROUND[82 + 12 * round + i]);
        }
        mix(x);
    }
    for (int i = 0; i < 4; i++)
        x[i] -= P & -(uint64_t)(x[i] >= P);
}

/* Twelve elements; the first four become the hash. */
static void poseidon_hash12(uint64_t *state) { permute(state); }

static inline uint64_t load(const unsigned char *raw) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | raw[i];
    return word;
}

static inline void load_words(const unsigned char *raw, uint64_t *words) {
    for (int i = 0; i < 4; i++)
        words[i] = load(raw + 24 - 8 * i);
}

static inline void store_words(const uint64_t *words, unsigned char *raw) {
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 8; j++)
            raw[24 - 8 * i + j] = (unsigned char)(words[i] >> (56 - 8 * j));
}

/* Steps as Steps in poseidon.py writes them: kind, left, right; a negative one stands for the hash of step ~it. */
static void poseidon_run(const unsigned char *literals, const int *steps, long count, unsigned char *made) {
    for (long at = 0; at < count; at++) {
        const int *step = steps + 3 * at;
        const unsigned char *left = step[1] >= 0 ? literals + 32L * step[1] : made + 32L * ~step[1];
        const unsigned char *right = step[2] >= 0 ? literals + 32L * step[2] : made + 32L * ~step[2];
        uint64_t state[12] = {0};
        load_words(left, state);
        if (step[0] == 2)
            for (int i = 3; i >= 0; i--) { /* a value: eight limbs of 32 bits */
                uint64_t word = state[i];
                state[2 * i] = word & FOLD;
                state[2 * i + 1] = word >> 32;
            }
        else
            load_words(right, state + 4);
        state[8] = step[0] == 1;
        permute(state);
        store_words(state, made + 32 * at);
    }
}
