"""Read and write ROS 2 messages without an installation of ROS.

| module     | what it holds                                                                  |
|------------|--------------------------------------------------------------------------------|
| `images`   | sensor_msgs/Image and CompressedImage as RGB images                            |
| `commands` | a policy's steering as the numbers of Twist and AckermannDrive                 |
| `stamps`   | time stamps of message headers, converted to the clock of a loop               |
| `dds`      | message types, topic names, quality of service and network of Cyclone DDS      |

`deploy.links.ros2` drives a robot with these; `envs.recorded.ros2` reads bags with the first two.
"""
