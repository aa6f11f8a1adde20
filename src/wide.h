/* Vectors as wide as the processor has them; without contraction of products and sums (build with
 * -ffp-contract=off) the bits are the same in all. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EP_WIDE __attribute__((target_clones("default", "avx2")))
#else
#define EP_WIDE
#endif
