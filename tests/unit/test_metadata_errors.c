/* SPDX-License-Identifier: Apache-2.0 */
/* Every way in which a metadata text can be wrong: its error, and a sentence that names the field
 * and the offence. */
#include "unit.h"

#define D "[{\"device\":\"cpu\",\"ptr\":1,\"size\":2}]"
#define PACKED                                                                                     \
    "eJzLy6zICU4tckktrnFMT80rYWSAgMQa5/y8vGIOBlRQwwVl+KbmBqcml2Tm59XkgY1Ids3JxVQOAAzQEzU="
#define M "\"b64:" PACKED "\""
#define K "\"key\""
#define TEXT(descriptors, packed, key, kind)                                                       \
    "{\"descriptors\":" descriptors ",\"nixl_metadata\":" packed ",\"notification_key\":" key      \
    ",\"operation_kind\":" kind "}"
#define DESCRIPTORS(list) TEXT(list, M, K, "1")
#define DEVICE(device) DESCRIPTORS("[{\"device\":" device ",\"ptr\":1,\"size\":2}]")
#define PTR(ptr) DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":" ptr ",\"size\":2}]")
#define SIZE(size) DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"size\":" size "}]")
#define COUNT(count) DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":2,\"size\":2,\"count\":" count "}]")
#define HALF "{\"device\":\"cpu\",\"ptr\":1,\"size\":9223372036854775807}"
#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10

typedef struct refusal {
    const char *text;
    const char *pieces[4]; /* of the sentence */
} refusal_t;

static void assert_all_refused(const refusal_t *refusals, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ropeway_metadata_t *metadata = (ropeway_metadata_t *)&metadata;

        unit_refused(
            ropeway_metadata_parse(refusals[i].text, strlen(refusals[i].text), 0, &metadata),
            ROPEWAY_ERR_METADATA, refusals[i].text, __FILE__, __LINE__, refusals[i].pieces);
        assert_null(metadata);
    }
}

static void the_texts_below_are_wrong_in_one_place_only(void **state) {
    static const char text[] = TEXT(D, M, K, "1");
    ropeway_metadata_t *metadata;

    (void)state;
    assert_accepted(ropeway_metadata_parse(text, sizeof text - 1, 0, &metadata));
    ropeway_metadata_release(metadata);
}

static void what_is_not_one_json_object_is_refused(void **state) {
    static const refusal_t refusals[] = {
        {"", {"the metadata", "ends before it"}},
        {"   ", {"the metadata", "ends before it"}},
        {"[]", {"the metadata must be a JSON object", "[]"}},
        {"null", {"the metadata must be a JSON object", "null"}},
        {"{", {"a key must be a text", "ends before it"}},
        {"{}", {"the metadata", "no member", "descriptors"}},
        {TEXT(D, M, K, "1") "x", {"at byte", "nothing", "x"}},
        {TEXT(D, M, K, "1,"), {"a key", "}"}},
        {TEXT(D, M, K, "1 2"), {"',' or '}'", "2}"}},
        {"{\"descriptors\" " D "}", {"':'", "[{"}},
        {"{descriptors:1}", {"a key", "descriptors:1"}},
        {"{\"descriptors\":" D, {"',' or '}'", "ends after"}},
    };

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
}

static void each_member_must_be_there_once_and_no_other(void **state) {
    static const refusal_t refusals[] = {
        {TEXT(D, M, K, "1,\"extra\":1"), {"the metadata", "unknown key", "\"extra\""}},
        {TEXT(D, M, K, "1,\"\\u001b[2J\n\":1"), {"character"}},
        {TEXT(D, M, K, "1,\"\x7f\":1"), {"unknown key", "\"?\""}},
        {TEXT(D, M, K, "1,\"" X50 X50 "\":1"), {"unknown key", "\"xxxxx", "..."}},
        {TEXT(D, M, K, "1,\"\":1"), {"unknown key", "\"\""}},
        {TEXT(D, M, K, "1,\"operation_kind\":1"), {"second", "operation_kind"}},
        {TEXT(D, M, K, "1,\"operation_\\u006bind\":1"), {"second", "operation_kind"}},
        {"{\"nixl_metadata\":" M ",\"notification_key\":" K ",\"operation_kind\":1}",
         {"no member descriptors"}},
        {"{\"descriptors\":" D ",\"notification_key\":" K ",\"operation_kind\":1}",
         {"no member nixl_metadata"}},
        {"{\"descriptors\":" D ",\"nixl_metadata\":" M ",\"operation_kind\":1}",
         {"no member notification_key"}},
        {"{\"descriptors\":" D ",\"nixl_metadata\":" M ",\"notification_key\":" K "}",
         {"no member operation_kind"}},
    };

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
}

static void the_descriptors_must_be_a_list_of_complete_objects(void **state) {
    static const refusal_t refusals[] = {
        {DESCRIPTORS("{}"), {"descriptors must be a list", "{}"}},
        {DESCRIPTORS("null"), {"descriptors must be a list", "null"}},
        {DESCRIPTORS("[]"), {"descriptors", "0 elements"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"size\":2},7]"),
         {"descriptors[1] must be a JSON object", "7]"}},
        {DESCRIPTORS("[[[[["), {"descriptors[0] must be a JSON object"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"size\":2} 7]"),
         {"at byte", "',' or ']'", "7]"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"size\":2},]"), {"descriptors[1]"}},
        {DESCRIPTORS("[{\"ptr\":1,\"size\":2}]"), {"descriptors[0] has no member device"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"size\":2}]"), {"descriptors[0] has no member ptr"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1}]"), {"descriptors[0] has no member size"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"size\":2,\"size\":2}]"),
         {"descriptors[0]", "second member size"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"length\":2}]"),
         {"descriptors[0]", "unknown key", "\"length\""}},
        {DESCRIPTORS("[" HALF "," HALF "," HALF "]"),
         {"descriptors[0] to descriptors[2]", "64 bits"}},
    };

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
}

static void each_value_of_a_descriptor_is_checked(void **state) {
    static const refusal_t refusals[] = {
        {DEVICE("\"tpu\""), {"descriptors[0].device", "\"tpu\""}},
        {DEVICE("\"cuda:65536\""), {"descriptors[0].device", "\"cuda:65536\""}},
        {DEVICE("\"CPU\""), {"descriptors[0].device", "\"CPU\""}},
        {DEVICE("\"\""), {"descriptors[0].device", "\"\""}},
        {DEVICE("\"" X50 X50 "\""), {"descriptors[0].device", "\"xxxx", "..."}},
        {DEVICE("1"), {"descriptors[0].device must be a text", "1"}},
        {PTR("0"), {"descriptors[0].ptr must be an integer", "0,"}},
        {PTR("-5"), {"descriptors[0].ptr", "-5"}},
        {PTR("1.5"), {"descriptors[0].ptr", "1.5"}},
        {PTR("1e3"), {"descriptors[0].ptr", "1e3"}},
        {PTR("007"), {"descriptors[0].ptr", "007"}},
        {PTR("\"1\""), {"descriptors[0].ptr", "\"1\""}},
        {PTR("true"), {"descriptors[0].ptr", "true"}},
        {PTR("18446744073709551616"), {"descriptors[0].ptr", "18446744073709551616"}},
        {PTR("99999999999999999999999"), {"descriptors[0].ptr", "99999999999999999999999"}},
        {SIZE("-1"), {"descriptors[0].size", "-1"}},
        {SIZE("-0"), {"descriptors[0].size", "-0"}},
        {SIZE("9223372036854775808"), {"descriptors[0].size", "9223372036854775808"}},
        {SIZE("null"), {"descriptors[0].size", "null"}},
        {SIZE("[]"), {"descriptors[0].size", "[]"}},
        {COUNT("0"), {"descriptors[0].count", "0}"}},
        {COUNT("-1"), {"descriptors[0].count", "-1"}},
        {COUNT("\"2\""), {"descriptors[0].count", "\"2\""}},
        {COUNT("18446744073709551616"), {"descriptors[0].count", "18446744073709551616"}},
        {COUNT("18446744073709551615"), {"descriptors[0]", "past the end of the address space"}},
        {COUNT("2,\"count\":2"), {"descriptors[0]", "second member count"}},
        {DESCRIPTORS("[{\"device\":\"cpu\",\"ptr\":1,\"size\":4611686018427387904,\"count\":4}]"),
         {"descriptors[0] to descriptors[3]", "64 bits"}},
    };

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
}

static void the_packed_agent_metadata_must_unpack(void **state) {
    static const refusal_t refusals[] = {
        {TEXT(D, "5", K, "1"), {"nixl_metadata must be a text", "5"}},
        {TEXT(D, "\"\"", K, "1"), {"nixl_metadata", "zlib"}},
        {TEXT(D, "\"b64:\"", K, "1"), {"nixl_metadata", "zlib"}},
        {TEXT(D, "\"b64:$$$\"", K, "1"), {"nixl_metadata", "7 characters", "base64"}},
        {TEXT(D, "\"b64:eJw\"", K, "1"), {"nixl_metadata", "base64"}},
        {TEXT(D, "\"B64:" PACKED "\"", K, "1"), {"nixl_metadata", "b64:"}},
        {TEXT(D, "\"" PACKED "\"", K, "1"), {"nixl_metadata", "b64:"}},
        {TEXT(D, "\"789\"", K, "1"), {"nixl_metadata", "hex"}},
        {TEXT(D, "\"b64:aGVsbG8gd29ybGQ=\"", K, "1"), {"nixl_metadata", "zlib", "header"}},
        {TEXT(D, "\"b64:eJwDAAAAAAE=\"", K, "1"), {"0 bytes", "nixlSerDes|"}},
        {TEXT(D,
              "\"b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5/y8vGIOBlRQwwVl+KbmBqcml2Tm59XkgY1Ids3JxVQ"
              "O\"",
              K, "1"),
         {"nixl_metadata", "cut off"}},
        {TEXT(D,
              "\"b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5/y8vGIOBlRQwwVl+KbmBqcml2Tm59XkgY1Ids3JxVQ"
              "OAAzQEzV4eXo=\"",
              K, "1"),
         {"nixl_metadata", "3 bytes behind"}},
        {TEXT(D,
              "\"b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5/y8vGIOBlRQwwVl+KbmBqcml2Tm59XkgY1Ids3JxVQ"
              "OAAzQEzQ=\"",
              K, "1"),
         {"nixl_metadata", "check"}},
        {TEXT(D,
              "\"b64:eLsGLAIVy8usyAlOLXJJLa5xTE/NK2FkgIDEGuf8vLxiDgZUUMMFZfim5ganJpdk5ufVQIxIds"
              "3JxVQOAAzQEzU=\"",
              K, "1"),
         {"nixl_metadata", "dictionary"}},
    };

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
}

static void the_key_must_be_a_text_of_1_to_255_bytes(void **state) {
    static const refusal_t refusals[] = {
        {TEXT(D, M, "\"\"", "1"), {"notification_key", "0 bytes"}},
        {TEXT(D, M, "7", "1"), {"notification_key must be a text", "7"}},
        {TEXT(D, M, "\"" X50 X50 X50 X50 X50 "xxxxxx\"", "1"), {"notification_key", "256 bytes"}},
        {TEXT(D, M, "\"a\\u0000b\"", "1"), {"character of a text", "\\u0000"}},
        {TEXT(D, M, "\"a\\ud800b\"", "1"), {"character of a text", "\\ud800"}},
        {TEXT(D, M, "\"a\xff\"", "1"), {"character of a text"}},
        {TEXT(D, M, "\"a\nb\"", "1"), {"character of a text"}},
        {"{\"notification_key\":\"abc", {"'\"'", "ends after"}},
    };
    static const char longest[] = TEXT(D, M, "\"" X50 X50 X50 X50 X50 "xxxxx\"", "1");
    ropeway_metadata_t *metadata;

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
    assert_accepted(ropeway_metadata_parse(longest, sizeof longest - 1, 0, &metadata));
    ropeway_metadata_release(metadata);
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state) {
    static const char text[] = TEXT(D, M, K, "1");
    char *changed = malloc(sizeof text);

    (void)state;
    assert_non_null(changed);
    for (size_t i = 0; i <= sizeof text - 1; i++) {
        ropeway_metadata_t *metadata;

        memcpy(changed, text, i);
        changed[i] = '\0';
        memcpy(changed + i + 1, text + i, sizeof text - 1 - i);
        assert_refused(ropeway_metadata_parse(changed, sizeof text, 0, &metadata),
                       ROPEWAY_ERR_METADATA, "");
    }
    free(changed);
}

static void the_kind_must_be_1_or_2(void **state) {
    static const refusal_t refusals[] = {
        {TEXT(D, M, K, "0"), {"operation_kind", "1 to 2", "0}"}},
        {TEXT(D, M, K, "3"), {"operation_kind", "3}"}},
        {TEXT(D, M, K, "-1"), {"operation_kind", "-1"}},
        {TEXT(D, M, K, "1.0"), {"operation_kind", "1.0"}},
        {TEXT(D, M, K, "\"1\""), {"operation_kind", "\"1\""}},
        {TEXT(D, M, K, "true"), {"operation_kind", "true"}},
        {TEXT(D, M, K, "null"), {"operation_kind", "null"}},
    };

    (void)state;
    assert_all_refused(refusals, UNIT_COUNT(refusals));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_texts_below_are_wrong_in_one_place_only),
        cmocka_unit_test(what_is_not_one_json_object_is_refused),
        cmocka_unit_test(each_member_must_be_there_once_and_no_other),
        cmocka_unit_test(the_descriptors_must_be_a_list_of_complete_objects),
        cmocka_unit_test(each_value_of_a_descriptor_is_checked),
        cmocka_unit_test(the_packed_agent_metadata_must_unpack),
        cmocka_unit_test(the_key_must_be_a_text_of_1_to_255_bytes),
        cmocka_unit_test(a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(the_kind_must_be_1_or_2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
