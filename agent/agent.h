/* SPDX-License-Identifier: Apache-2.0 */
/* mica-agent as a whole. */
#ifndef MICA_AGENT_AGENT_H
#define MICA_AGENT_AGENT_H

/* Both say on standard error what is wrong, and return the exit status of the program. */
int agent_check_config(const char *path);
int agent_run(const char *path);

#endif
