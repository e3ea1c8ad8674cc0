/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MICA_AGENT_CONFIG_IMPL_H
#define MICA_AGENT_CONFIG_IMPL_H

#include "config.h"

#include "mica/yaml.h"

/* What is not given is 0, which shall be info: the two lowest levels change places while they are
 * read, and change back in config.c. */
#define CONFIG_LEVEL(l) ((l) ^ MICA_INFO)

extern const cyaml_schema_value_t agent_config_schema;

#endif
