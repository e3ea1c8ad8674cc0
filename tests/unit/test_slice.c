/* SPDX-License-Identifier: Apache-2.0 */
/* Slices, UTF-8 and memory. */
#include "mica/mem.h"
#include "mica/slice.h"

#include <setjmp.h>
#include <signal.h>
#include <cmocka.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define SL(s) mica_slice_str(s)

static void sub(void **state)
{
	struct mica_slice s = SL("abcdef");

	(void)state;
	assert_true(mica_slice_eq_str(mica_slice_sub(s, 1, 2), "bc"));
	assert_true(mica_slice_eq_str(mica_slice_sub(s, 4, 99), "ef"));
	assert_true(mica_slice_eq_str(mica_slice_sub(s, 4, SIZE_MAX), "ef"));
	assert_int_equal(mica_slice_sub(s, 6, 1).len, 0);
	assert_int_equal(mica_slice_sub(s, SIZE_MAX, SIZE_MAX).len, 0);
	assert_int_equal(mica_slice_sub(MICA_SLICE_NULL, 0, 1).len, 0);
}

static void compare(void **state)
{
	(void)state;
	assert_true(mica_slice_eq(MICA_SLICE_NULL, SL("")));
	assert_true(mica_slice_eq(MICA_LIT("a\0b"), mica_slice("a\0b", 3)));
	assert_false(mica_slice_eq(MICA_LIT("a\0b"), MICA_LIT("a\0c")));
	assert_false(mica_slice_eq_str(MICA_LIT("a\0"), "a"));
	assert_true(mica_slice_eq_str(MICA_SLICE_NULL, ""));
	assert_int_equal(mica_slice_cmp(SL("a"), SL("b")), -1);
	assert_int_equal(mica_slice_cmp(SL("\xff"), SL("a")), 1);
	assert_int_equal(mica_slice_cmp(SL("a"), SL("ab")), -1);
	assert_int_equal(mica_slice_cmp(SL("ab"), SL("a")), 1);
	assert_int_equal(mica_slice_cmp(SL("ab"), SL("ab")), 0);
	assert_int_equal(mica_slice_cmp(MICA_SLICE_NULL, MICA_SLICE_NULL), 0);
	assert_true(mica_slice_has_prefix(SL("abc"), SL("ab")));
	assert_false(mica_slice_has_prefix(SL("a"), SL("ab")));
	assert_true(mica_slice_has_prefix(SL("a"), MICA_SLICE_NULL));
	assert_true(mica_slice_has_suffix(SL("abc"), SL("bc")));
	assert_false(mica_slice_has_suffix(SL("c"), SL("bc")));
	assert_true(mica_slice_has_suffix(MICA_SLICE_NULL, MICA_SLICE_NULL));
	assert_true(mica_slice_eq_secret(SL("abc"), SL("abc")));
	assert_false(mica_slice_eq_secret(SL("abc"), SL("abd")));
	assert_false(mica_slice_eq_secret(SL("bbc"), SL("abc")));
	assert_false(mica_slice_eq_secret(SL("abc"), SL("ab")));
	assert_true(mica_slice_eq_secret(MICA_SLICE_NULL, MICA_SLICE_NULL));
}

static void cut(void **state)
{
	struct mica_slice s = SL("a..b"), head;

	(void)state;
	assert_true(mica_slice_cut(&s, '.', &head));
	assert_true(mica_slice_eq_str(head, "a"));
	assert_true(mica_slice_cut(&s, '.', &head));
	assert_int_equal(head.len, 0);
	assert_false(mica_slice_cut(&s, '.', &head));
	assert_true(mica_slice_eq_str(head, "b"));
	assert_int_equal(s.len, 0);
	assert_false(mica_slice_cut(&s, '.', &head));
	assert_int_equal(head.len, 0);
	s = SL("x.");
	assert_true(mica_slice_cut(&s, '.', &head));
	assert_int_equal(s.len, 0);
}

static void copies(void **state)
{
	MICA_AUTO_FREE char *dup = mica_slice_dup(MICA_LIT("a\0b"));
	char small[4];

	(void)state;
	assert_memory_equal(dup, "a\0b\0", 4);
	assert_int_equal(mica_slice_copy(SL("abc"), small, sizeof(small)), MICA_OK);
	assert_string_equal(small, "abc");
	assert_int_equal(mica_slice_copy(SL("abcd"), small, sizeof(small)), MICA_LIMIT);
	assert_string_equal(small, "");
	assert_int_equal(mica_slice_copy(MICA_LIT("a\0b"), small, sizeof(small)), MICA_INVALID);
	assert_string_equal(small, "");
	assert_int_equal(mica_slice_copy(MICA_SLICE_NULL, small, 1), MICA_OK);
	assert_int_equal(mica_slice_copy(MICA_SLICE_NULL, small, 0), MICA_LIMIT);
}

static void utf8(void **state)
{
	static const char *const good[] = {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2",
		"\xc2\x41", "\xc2\xc2", "\xe0\x9f\xbf", "\xe0\xa0", "\xe2\x82", "\xe2\x28\xa1",
		"\xe2\x82\x28", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf0\x90\x80",
		"\xf0\x90\x28\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80",
		"\xfe", "\xff"};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(good); i++)
		assert_true(mica_slice_is_utf8(SL(good[i])));
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_false(mica_slice_is_utf8(SL(bad[i])));
	assert_true(mica_slice_is_utf8(MICA_LIT("a\0b")));
}

static size_t encode(uint32_t cp, uint8_t out[4])
{
	size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
	static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = n; i-- > 1; cp >>= 6)
		out[i] = (uint8_t)(0x80 | (cp & 0x3f));
	out[0] = (uint8_t)(lead[n] | cp);
	return n;
}

/* Every number up to past the last code point: good but for surrogates; each prefix is bad. */
static void utf8_every_code_point(void **state)
{
	uint8_t b[4];

	(void)state;
	for (uint32_t cp = 0; cp < 0x110100; cp++) {
		size_t n = encode(cp, b);
		bool good = cp < 0x110000 && (cp < 0xd800 || cp > 0xdfff);

		assert_true(mica_slice_is_utf8(mica_slice(b, n)) == good);
		if (n > 1 && mica_slice_is_utf8(mica_slice(b, n - 1)))
			fail_msg("a prefix of U+%04X counts as whole", (unsigned)cp);
	}
}

static void memory(void **state)
{
	MICA_AUTO_FREE char *none = mica_strdup(NULL);
	MICA_AUTO_FREE char *cut_short = mica_strndup("abc", 2);
	MICA_AUTO_FREE char *whole = mica_strndup("abc", 9);
	MICA_AUTO_FREE void *empty = mica_memdup(NULL, 0);
	MICA_AUTO_FREE void *zero = mica_alloc(0);
	char *moved;

	(void)state;
	assert_null(none);
	assert_string_equal(cut_short, "ab");
	assert_string_equal(whole, "abc");
	assert_non_null(empty);
	assert_non_null(zero);
	moved = MICA_STEAL(whole);
	assert_null(whole);
	mica_free(moved);
	mica_free(NULL);
}

/* A product that wraps must end the process, not give a small block. */
static void overflow_ends_the_process(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			const struct rlimit no_core = {0, 0};

			setrlimit(RLIMIT_CORE, &no_core);
			signal(SIGABRT, SIG_DFL);
			close(STDERR_FILENO);
			mica_free(
				i ? mica_calloc(SIZE_MAX / 2, 3) : mica_realloc(NULL, SIZE_MAX, 1));
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) ||
			(WIFEXITED(status) && WEXITSTATUS(status) == 75));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sub),
		cmocka_unit_test(compare),
		cmocka_unit_test(cut),
		cmocka_unit_test(copies),
		cmocka_unit_test(utf8),
		cmocka_unit_test(utf8_every_code_point),
		cmocka_unit_test(memory),
		cmocka_unit_test(overflow_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
