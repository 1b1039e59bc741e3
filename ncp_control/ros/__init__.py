"""What ROS 2 messages mean, without an installation of ROS.

| module     | what it holds                                                                  |
|------------|--------------------------------------------------------------------------------|
| `images`   | sensor_msgs/Image and CompressedImage as RGB images                            |
| `commands` | a policy's steering as the numbers of Twist and AckermannDrive                 |
| `stamps`   | the times in message headers on the clock of a loop                            |
| `dds`      | message types, topic names, quality of service and network of Cyclone DDS      |

`deploy.links.ros2` drives a robot with these; `envs.recorded.ros2` reads bags with the first two.
"""
