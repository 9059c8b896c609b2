/* Blocks of one text or of two through SHA-256 (FIPS 180-4), by the instructions of x86 processors.

   A round waits for the result of the round before, so one text keeps such a processor busy for half
   of the time. Two texts in turn take hardly longer than one. */

#ifndef BEAM_DYNAMODB_SHA256_BLOCKS_H
#define BEAM_DYNAMODB_SHA256_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BLOCK = 64 };

/* The hash of all before `data`. */
typedef struct {
    uint32_t state[8];
    const unsigned char *data;
} sha256_text;

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

#include <cpuid.h>
#include <immintrin.h>

#define SHA256_INLINE static inline __attribute__((always_inline, target("sha,sse4.1")))

static const uint32_t sha256_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The eight words of a state, a to h, as the instructions have them. */
typedef struct {
    __m128i abef, cdgh;
} sha256_words;

SHA256_INLINE sha256_words sha256_words_of(const uint32_t *state)
{
    __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    sha256_words words = {_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xF0)};
    return words;
}

SHA256_INLINE void sha256_put_words(uint32_t *state, sha256_words words)
{
    __m128i feba = _mm_shuffle_epi32(words.abef, 0x1B);
    __m128i dchg = _mm_shuffle_epi32(words.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

SHA256_INLINE void sha256_four_rounds(sha256_words *words, __m128i schedule, int round)
{
    const __m128i *constants = (const __m128i *)(sha256_constants + round);
    __m128i sum = _mm_add_epi32(schedule, _mm_load_si128(constants));
    words->cdgh = _mm_sha256rnds2_epu32(words->cdgh, words->abef, sum);
    words->abef = _mm_sha256rnds2_epu32(words->abef, words->cdgh, _mm_shuffle_epi32(sum, 0x0E));
}

/* The four words of the schedule behind these sixteen. */
SHA256_INLINE __m128i sha256_next_four(__m128i w0, __m128i w4, __m128i w8, __m128i w12)
{
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w4), _mm_alignr_epi8(w12, w8, 4));
    return _mm_sha256msg2_epu32(sum, w12);
}

/* `lanes` is known when this is compiled, and all inner loops unrolled. */
SHA256_INLINE void sha256_advance_lanes(sha256_text *const *texts, int lanes, size_t blocks)
{
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    sha256_words words[2];
    for (int lane = 0; lane < lanes; lane++)
        words[lane] = sha256_words_of(texts[lane]->state);
    for (size_t block = 0; block < blocks; block++) {
        sha256_words before[2];
        __m128i w[2][4];
        for (int lane = 0; lane < lanes; lane++) {
            const __m128i *data = (const __m128i *)(texts[lane]->data + SHA256_BLOCK * block);
            before[lane] = words[lane];
            for (int four = 0; four < 4; four++)
                w[lane][four] = _mm_shuffle_epi8(_mm_loadu_si128(data + four), big_endian);
        }
#pragma GCC unroll 16
        for (int four = 0; four < 16; four++) {
#pragma GCC unroll 2
            for (int lane = 0; lane < lanes; lane++) {
                __m128i *v = w[lane], *first = v + (four & 3);
                sha256_four_rounds(&words[lane], *first, 4 * four);
                if (four < 12)
                    *first = sha256_next_four(
                        *first, v[(four + 1) & 3], v[(four + 2) & 3], v[(four + 3) & 3]);
            }
        }
        for (int lane = 0; lane < lanes; lane++) {
            words[lane].abef = _mm_add_epi32(words[lane].abef, before[lane].abef);
            words[lane].cdgh = _mm_add_epi32(words[lane].cdgh, before[lane].cdgh);
        }
    }
    for (int lane = 0; lane < lanes; lane++) {
        sha256_put_words(texts[lane]->state, words[lane]);
        texts[lane]->data += SHA256_BLOCK * blocks;
    }
}

/* Hashes so many blocks of one text, or of two; the second one may be NULL. */
__attribute__((target("sha,sse4.1")))
static void sha256_advance(sha256_text *first, sha256_text *second, size_t blocks)
{
    sha256_text *texts[2] = {first, second};
    if (second == NULL)
        sha256_advance_lanes(texts, 1, blocks);
    else
        sha256_advance_lanes(texts, 2, blocks);
}

/* Whether the processor has SSSE3, SSE4.1 and the instructions for SHA. */
static int sha256_is_possible(void)
{
    unsigned int a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

#else

static void sha256_advance(sha256_text *first, sha256_text *second, size_t blocks)
{
    (void)first, (void)second, (void)blocks;
}

static int sha256_is_possible(void)
{
    return 0;
}

#endif
#endif
