/* SPDX-License-Identifier: Apache-2.0 */
/* A libucp that can say its release, and nothing else. */

__attribute__((visibility("default"))) void ucp_get_version(unsigned *major, unsigned *minor,
                                                            unsigned *release);

void ucp_get_version(unsigned *major, unsigned *minor, unsigned *release) {
    *major = 1;
    *minor = FAKE_MINOR;
    *release = 1;
}

#ifdef FAKE_TEXT
__attribute__((visibility("default"))) const char *ucp_get_version_string(void);

const char *ucp_get_version_string(void) {
    return FAKE_TEXT;
}
#endif
